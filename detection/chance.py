"""Where the randomness of a training comes from: seed, step and image, so that every process draws the same.

Dropout's depends on the process as well: torch has one generator for it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch


class Stream(IntEnum):
    """What is drawn: the last word of a seed, without which two things drawn from the same words would be correlated.

    The first two follow a view's seed, the others seed, step and row (dropout: process), which alone are the words of a
    view's seed.
    """

    MOSAIC = 1
    CROP = 2
    SIDE = 3
    SAMPLING = 4
    DROPOUT = 5


def view_seed(seed: int, step: int, row: int) -> int:
    """A seed for the view in ``row`` of a step's batch, well spread over 32 bits."""
    return int(np.random.SeedSequence((seed, step, row)).generate_state(1)[0])


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """A seed for torch's own generator in a step, another for each process; in 32 bits, all that a CPU's keeps."""
    return int(np.random.SeedSequence((seed, step, rank, Stream.DROPOUT)).generate_state(1)[0])


class StepChance(NamedTuple):
    """The chance of one step.

    Attributes:
        seed: Seed of the run.
        step: Steps done before.
        first_row: Place of this process's first image among those of the step, over all processes.
    """

    seed: int
    step: int
    first_row: int = 0

    def of_images(self, count: int) -> list[torch.Generator]:
        """A generator for each of the ``count`` images of this process's batch."""
        return [self.of_image(row) for row in range(count)]

    def of_image(self, row: int) -> torch.Generator:
        """A generator on the CPU for the image in ``row`` of this process's batch, the same on any other process."""
        source = np.random.SeedSequence((self.seed, self.step, self.first_row + row, Stream.SAMPLING))
        words = source.generate_state(2)
        return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

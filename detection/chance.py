"""Where the chance of a training step comes from: from seed, step and image alone, whoever computes the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

_STREAM = 4  # A fourth word: the seeds of views have three words at most, that of a batch's side has another.


class StepChance(NamedTuple):
    """The chance of one step.

    Attributes:
        seed: Of the run.
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
        words = np.random.SeedSequence((self.seed, self.step, self.first_row + row, _STREAM)).generate_state(2)
        return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

"""The losses of a validation part: what training lowers, on images that it does not learn from.

They are those of the averaged weights, whose batch normalisation is in use and learns nothing, on images as they are,
unflipped and whole. Regions are drawn by the same chance every time, so two validations differ by their weights alone.
A large part lends ``MOST_IMAGES`` of its images, always the same: a mean that is to be followed needs no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from detection.chance import StepChance
from detection.data.loader import SampleKey, TrainingSet, collate
from detection.processes import mean_of_all, place
from detection.training_task import Network
from detection.workers import make_loader

MOST_IMAGES = 64
"""Images of a part that losses are computed of, spread evenly over it."""


@dataclass(frozen=True)
class ValidationLoss(Generic[Network]):
    """Computes the losses of a network.

    Attributes:
        make_objective: Network -> network and losses as one module.
        images: The part, as views without any change.
        longest_side: Of the input.
        batch_size: B of each process.
        workers: Processes that read; 0 reads in this one.
        accelerator: Device and precision.
    """

    make_objective: Callable[[Network], nn.Module]
    images: TrainingSet
    longest_side: int
    batch_size: int
    workers: int
    accelerator: Accelerator

    @torch.no_grad()
    def __call__(self, network: Network) -> dict[str, float]:
        """Weighted loss by name, the mean over the images; the network stays as it is, but for its evaluation mode.

        Several processes take equally many images each, since they compute every step together; those that are left
        over, fewer than there are processes, are left out. Without an image for each there is no loss.
        """
        objective = self.make_objective(network).eval()
        batches = self._batches()
        sums: dict[str, Tensor] = {}
        for step, batch in enumerate(make_loader(self.images, batches, collate, workers=self.workers)):
            count = len(batch.file_names)
            chance = StepChance(seed=0, step=step, first_row=place().rank * count)
            with self.accelerator.autocast():
                losses = objective(*batch.inputs(self.accelerator.device), chance)
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + count * loss
        if not sums:
            return {}
        means = mean_of_all(torch.stack(list(sums.values())) / sum(map(len, batches)))
        return dict(zip(sums, means.tolist(), strict=True))

    def _batches(self) -> list[list[SampleKey]]:
        """This process's equal part of every step; images of like shape come together, which saves padding."""
        rank, processes = place()
        sizes = [record.size_hw for record in self.images.records]
        spread = range(0, len(sizes), max(1, -(-len(sizes) // MOST_IMAGES)))
        rows = sorted(spread, key=lambda row: sizes[row][0] / sizes[row][1])
        rows = rows[: len(rows) - len(rows) % processes]
        batches = []
        for start in range(0, len(rows), self.batch_size * processes):
            step = rows[start:][: self.batch_size * processes]
            own = len(step) // processes
            batches.append([SampleKey(row, 0, self.longest_side) for row in step[rank * own :][:own]])
        return batches

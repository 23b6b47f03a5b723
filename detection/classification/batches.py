"""Training batches of a classifier: random square views of packed images.

Everything random follows from the seed and the step, as in ``detection.data.loader``. Legend: B images, S side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detection.classification.packed import PackedImages
from detection.data.augment import CropAugmentation, CropSettings
from detection.data.loader import BatchPlan, SampleKey, steps_per_epoch
from detection.preprocess import Image
from detection.schedule import ResolutionPhase, side_at
from detection.workers import make_loader


class LabelledView(NamedTuple):
    """A view (S, S, 3) uint8 RGB, its label, and the file it comes from."""

    image: Image
    label: int
    file_name: str


class LabelledBatch(NamedTuple):
    """B views: (B, 3, S, S) uint8 in channels-last memory, labels (B,) int64, B file names."""

    images: Tensor
    labels: Tensor
    file_names: list[str]

    @property
    def errors(self) -> Mapping[str, str]:
        """Empty: what cannot be read never entered the pack."""
        return {}

    @property
    def num_files(self) -> int:
        """B."""
        return len(self.file_names)

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images and labels on a device."""
        return self.images.to(device), self.labels.to(device)

    def tensors(self) -> dict[str, Tensor]:
        """Images and labels."""
        return {"images": self.images.contiguous(), "labels": self.labels}


def collate_views(views: Sequence[LabelledView]) -> LabelledBatch:
    """Stacks views of one size."""
    images = torch.from_numpy(np.stack([view.image for view in views])).permute(0, 3, 1, 2)
    return LabelledBatch(images, torch.tensor([view.label for view in views]), [view.file_name for view in views])


class ViewSet(Dataset[LabelledView]):
    """Random views of packed images.

    Args:
        packed: The images.
        settings: How far views may stray.
    """

    def __init__(self, packed: PackedImages, settings: CropSettings) -> None:
        self.packed = packed
        self.settings = settings
        self._augmentations: dict[int, CropAugmentation] = {}  # by side

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, key: SampleKey) -> LabelledView:
        """Makes the view that ``key`` asks for; its ``longest_side`` is the view's side."""
        side = key.longest_side
        if side not in self._augmentations:
            self._augmentations[side] = CropAugmentation(self.settings, side)
        view = self._augmentations[side](self.packed.image(key.image), seed=key.seed)
        return LabelledView(view, int(self.packed.labels[key.image]), self.packed.names[key.image])


@dataclass(frozen=True)
class ViewBatches:
    """The training batches of a classifier.

    Attributes:
        packed: The images.
        settings: How far views may stray.
        batch_size: B.
        seed: Of the run.
        workers: Processes that make views; 0 makes them in this one.
        phases: Side of the input by progress.
    """

    packed: PackedImages
    settings: CropSettings
    batch_size: int
    seed: int
    workers: int
    phases: Sequence[ResolutionPhase] = field(default=(ResolutionPhase(0.0, 64),))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the images."""
        return steps_per_epoch(len(self.packed), self.batch_size)

    def batches(self, first_step: int, progress_at: Callable[[int], float]) -> Iterable[LabelledBatch]:
        """Batches without end, from a step on."""
        plan = BatchPlan(
            np.ones(len(self.packed)),  # all views are squares: nothing to sort by shape
            batch_size=self.batch_size,
            seed=self.seed,
            first_step=first_step,
            side_at=lambda step: side_at(progress_at(step), self.phases),
        )
        return make_loader(ViewSet(self.packed, self.settings), plan, collate_views, workers=self.workers)

    def largest_batch(self) -> LabelledBatch:
        """Views of the largest side."""
        views = ViewSet(self.packed, self.settings)
        side = max(phase.side for phase in self.phases)
        keys = [SampleKey(row, 0, side) for row in range(min(self.batch_size, len(self.packed)))]
        return collate_views([views[key] for key in keys])

"""Records that travel between the stages: what a data set tells about an image, and what the detector answers.

Legend: G ground truths, D detections, C foreground classes. Boxes are float32 xyxy, pixel edges, half-open, no +1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


def _check_rows(owner: str, boxes: Tensor, **columns: Tensor) -> None:
    """Raises ValueError unless ``boxes`` is (N, 4) and every column is (N,)."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{owner}.boxes must have shape (N, 4), got {tuple(boxes.shape)}")
    for name, column in columns.items():
        if column.shape != boxes.shape[:1]:
            raise ValueError(f"{owner}.{name} must have shape ({len(boxes)},), got {tuple(column.shape)}")


@dataclass(frozen=True)
class Target:
    """The labelled objects of one image.

    Attributes:
        boxes: (G, 4) float32 xyxy, pixels of the image that the detector sees.
        labels: (G,) int64 in [0, C); background has no label here.
        ignore: (G,) bool; crowd, difficult or "ignore" objects: neither positive nor negative anywhere.
        image_size_hw: Height and width of that image in pixels.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    image_size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        _check_rows("Target", self.boxes, labels=self.labels, ignore=self.ignore)

    def __len__(self) -> int:
        return len(self.boxes)

    def to(self, device: torch.device) -> Target:
        """Returns the same target on ``device``."""
        return replace(self, boxes=self.boxes.to(device), labels=self.labels.to(device), ignore=self.ignore.to(device))


@dataclass(frozen=True)
class Detections:
    """What the detector found in one image, best score first.

    Attributes:
        boxes: (D, 4) float32 xyxy, pixels of the image whose size is ``image_size_hw``.
        scores: (D,) float32 in [0, 1], descending.
        labels: (D,) int64 in [0, C).
        image_size_hw: Height and width: of the original image, or inside the network of its input.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    image_size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        _check_rows("Detections", self.boxes, scores=self.scores, labels=self.labels)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Tensor | slice) -> Detections:
        """Selects rows by mask, index tensor or slice."""
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows], self.image_size_hw)

    def to(self, device: torch.device) -> Detections:
        """Returns the same detections on ``device``."""
        return replace(self, boxes=self.boxes.to(device), scores=self.scores.to(device), labels=self.labels.to(device))

    @classmethod
    def empty(cls, image_size_hw: tuple[int, int]) -> Detections:
        """No detections, on an image of the given size."""
        no_labels = torch.zeros(0, dtype=torch.int64)
        return cls(torch.zeros(0, 4), torch.zeros(0), no_labels, image_size_hw)

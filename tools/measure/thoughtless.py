"""A detector that costs nothing, to measure what is around it. A module of its own, since workers import it by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from detection.preprocess import Image
from detection.structures import Detections

NAMES = ("first", "second", "third")


class ThoughtlessDetector:
    """Gives every image the same answer.

    Args:
        count: Detections in it.
    """

    def __init__(self, count: int) -> None:
        self.class_names = NAMES
        self.category_ids = tuple(range(len(NAMES)))
        self.device = torch.device("cpu")
        self.found = one_answer(count)

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        """The answer, for each image."""
        return [self.found for _ in images]


def one_answer(count: int) -> Detections:
    """So many boxes with scores, best first."""
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(count, 2, generator=generator) * 300
    boxes = torch.cat([start, start + torch.rand(count, 2, generator=generator) * 100], dim=1)
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    return Detections(boxes, scores, torch.arange(count) % len(NAMES), (480, 640))

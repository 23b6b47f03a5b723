"""A detector that reads its answers off the pixels: exact, so that what is made around detectors can be checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from detection.preprocess import Image
from detection.structures import Detections

Painted = tuple[int, int, tuple[int, int, int, int]]
"""An object: class, value in 1..255 (its score is value / 255), xyxy box."""


def paint(size_hw: tuple[int, int], objects: Sequence[Painted]) -> Image:
    """A black image with a rectangle for each object, in the channel of its class; later ones lie on top."""
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    for label, value, (left, top, right, bottom) in objects:
        image[top:bottom, left:right, label] = value
    return image


def answer_of(size_hw: tuple[int, int], objects: Sequence[Painted]) -> Detections:
    """What a perfect detector says of these objects."""
    best_first = sorted(objects, key=lambda each: (-each[1], each[0]))
    return Detections(
        torch.tensor([box for _, _, box in best_first], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([value / 255 for _, value, _ in best_first]),
        torch.tensor([label for label, _, _ in best_first], dtype=torch.int64),
        size_hw,
    )


class PixelDetector:
    """Finds the extent of each value in each channel.

    Args:
        blind_above: It sees nothing in images with a longer side: they are too small for it once scaled down.
        class_names: Three names.
        category_ids: Three ids.
    """

    def __init__(
        self,
        *,
        blind_above: int | None = None,
        class_names: tuple[str, ...] = ("red", "green", "blue"),
        category_ids: tuple[int, ...] = (1, 2, 3),
    ) -> None:
        self.blind_above = blind_above
        self.class_names = class_names
        self.category_ids = category_ids
        self.device = torch.device("cpu")
        self.asked: list[list[tuple[int, ...]]] = []

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        """Remembers the shapes that it was asked of."""
        self.asked.append([image.shape[:2] for image in images])
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> Detections:
        height, width = image.shape[:2]
        found: list[Painted] = []
        if self.blind_above is None or max(height, width) <= self.blind_above:
            for label in range(3):
                for value in np.unique(image[..., label][image[..., label] > 0]).tolist():
                    rows, columns = np.nonzero(image[..., label] == value)
                    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
                    found.append((label, value, box))
        return answer_of((height, width), found)


def assert_same(found: Detections, expected: Detections) -> None:
    """Equal but for the order of equal scores."""
    assert found.image_size_hw == expected.image_size_hw
    assert rows_of(found) == rows_of(expected)


def rows_of(found: Detections) -> list[tuple[float, ...]]:
    """The detections as sorted plain numbers: score, label, box."""
    columns = (found.scores.tolist(), found.labels.tolist(), found.boxes.tolist())
    return sorted((score, label, *box) for score, label, box in zip(*columns, strict=True))

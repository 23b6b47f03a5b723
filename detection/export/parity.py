"""Whether an exported detector answers what its source answers, image by image.

Legend: D detections of one image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from detection.image_detector import ImageDetector
from detection.preprocess import Image
from detection.structures import Detections
from proposals.box_ops import box_iou

MAX_PIXELS = 0.5
"""How far an edge may lie from where the source has it."""

MAX_SCORE = 0.01
"""How far a score may be from the source's."""

WEAK = 0.05
"""Detections with lower scores are not compared: which of them survive suppression hangs on the last bits."""


@dataclass
class Drift:
    """What was compared, and how far apart the answers were.

    Attributes:
        images: Compared.
        detections: Of the source, from ``WEAK`` on.
        missing: Of these, without a counterpart; and of the export without one in the source.
        pixels: Largest distance of an edge.
        score: Largest difference of a score.
    """

    images: int = 0
    detections: int = 0
    missing: int = 0
    pixels: float = 0.0
    score: float = 0.0

    @property
    def tolerable(self) -> bool:
        """Whether the export may be used for the source."""
        return self.missing == 0 and self.pixels <= MAX_PIXELS and self.score <= MAX_SCORE

    def describe(self) -> str:
        """For people."""
        return (
            f"{self.images} images, {self.detections} detections from score {WEAK} on: {self.missing} without a "
            f"counterpart, boxes apart by at most {self.pixels:.2f} pixels, scores by {self.score:.4f}"
        )


def measure_drift(source: ImageDetector, export: ImageDetector, images: Iterable[Image]) -> Drift:
    """Compares the answers to images."""
    drift = Drift()
    for image in images:
        (expected,), (found,) = source.detect_images([image]), export.detect_images([image])
        _add(drift, expected, found)
    return drift


def _add(drift: Drift, expected: Detections, found: Detections) -> None:
    """Pairs detections of one class by overlap; near the lowest score either side may lack one.

    What is no number in the export counts as a detection without a counterpart.
    """
    drift.images += 1
    is_sound = found.boxes.isfinite().all(dim=1) & found.scores.isfinite()
    drift.missing += int(torch.count_nonzero(~is_sound))
    found = found[is_sound]  # what is no number compares as it likes
    strong = expected[expected.scores >= WEAK]
    drift.detections += len(strong)
    drift.missing += _unpaired(found[found.scores >= WEAK + MAX_SCORE], expected)
    overlap = box_iou(strong.boxes, found.boxes)
    overlap[strong.labels[:, None] != found.labels[None, :]] = -1
    for row, values in enumerate(overlap):
        if not len(values) or values.max() < 0.5:
            drift.missing += int(strong.scores[row] >= WEAK + MAX_SCORE)
            continue
        other = int(values.argmax())
        drift.pixels = max(drift.pixels, float((strong.boxes[row] - found.boxes[other]).abs().max()))
        drift.score = max(drift.score, float((strong.scores[row] - found.scores[other]).abs()))


def _unpaired(some: Detections, others: Detections) -> int:
    """How many have no detection of their class that overlaps them by half."""
    if not len(some) or not len(others):
        return len(some)
    overlap = box_iou(some.boxes, others.boxes)
    overlap[some.labels[:, None] != others.labels[None, :]] = -1
    return int(torch.count_nonzero(overlap.max(dim=1).values < 0.5))

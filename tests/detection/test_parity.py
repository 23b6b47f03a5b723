"""What counts as drift between a model and its export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from detection.export.parity import Drift, measure_drift
from detection.preprocess import Image
from detection.structures import Detections

IMAGE = np.zeros((96, 96, 3), dtype=np.uint8)
BOXES = [[10.0, 10.0, 30.0, 40.0], [50.0, 50.0, 90.0, 80.0], [2.0, 60.0, 22.0, 90.0]]
SCORES = [0.9, 0.6, 0.3]
LABELS = [0, 1, 0]


@dataclass
class Scripted:
    """A detector with one answer."""

    boxes: list[list[float]]
    scores: list[float]
    labels: list[int]
    class_names: tuple[str, ...] = ("cat", "dog")
    category_ids: tuple[int, ...] = (1, 2)

    def detect_images(self, images: list[Image]) -> list[Detections]:
        boxes = torch.tensor(self.boxes).reshape(-1, 4)
        return [
            Detections(boxes, torch.tensor(self.scores), torch.tensor(self.labels).long(), (96, 96)) for _ in images
        ]


def drift_of(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Drift:
    return measure_drift(Scripted(BOXES, SCORES, LABELS), Scripted(boxes, scores, labels), [IMAGE, IMAGE])


def test_the_same_answers_are_no_drift() -> None:
    drift = drift_of(BOXES, SCORES, LABELS)
    assert drift == Drift(images=2, detections=6, missing=0, pixels=0.0, score=0.0)
    assert drift.tolerable


def test_a_little_is_tolerable_and_told() -> None:
    drift = drift_of([[10.0, 10.25, 30.0, 40.0], *BOXES[1:]], [0.9, 0.595, 0.3], LABELS)
    assert (drift.missing, drift.pixels) == (0, 0.25)
    assert drift.score == pytest.approx(0.005, abs=1e-6)
    assert drift.tolerable
    assert "at most 0.25 pixels, scores by 0.0050" in drift.describe()


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "field", "value"),
    [
        ([BOXES[0], [50.0, 50.0, 92.0, 80.0], BOXES[2]], SCORES, LABELS, "pixels", 2.0),
        (BOXES, [0.9, 0.6, 0.25], LABELS, "score", 0.05),
        (BOXES, SCORES, [0, 0, 0], "missing", 2 * 2),  # one without a counterpart on either side of both images
        (BOXES[:2], SCORES[:2], LABELS[:2], "missing", 2),
        ([*BOXES, [60.0, 5.0, 90.0, 30.0]], [*SCORES, 0.2], [*LABELS, 1], "missing", 2),
        ([BOXES[0], [10.0, 50.0, 45.0, 80.0], BOXES[2]], SCORES, LABELS, "missing", 2 * 2),
        ([], [], [], "missing", 6),
        ([[float("nan")] * 4, *BOXES[1:]], SCORES, LABELS, "missing", 2 * 2),
        (BOXES, [float("nan"), *SCORES[1:]], LABELS, "missing", 2 * 2),
    ],
    ids=["box", "score", "class", "one less", "one more", "elsewhere", "nothing found", "no box", "no score"],
)
def test_too_much_is_not(
    boxes: list[list[float]], scores: list[float], labels: list[int], field: str, value: float
) -> None:
    drift = drift_of(boxes, scores, labels)
    assert getattr(drift, field) == pytest.approx(value, abs=1e-6)
    assert not drift.tolerable


def test_weak_detections_may_come_and_go() -> None:
    drift = drift_of([*BOXES, [60.0, 5.0, 90.0, 30.0]], [*SCORES, 0.055], [*LABELS, 1])
    assert drift.tolerable

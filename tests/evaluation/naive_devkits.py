"""The devkits of VOC and ILSVRC written as plain loops over inclusive boxes, "+1" and all: the second source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

Box = Sequence[float]


@dataclass
class Truth:
    """One object of the class; ``box`` is 1-based inclusive as in the VOC files."""

    image: int
    box: Box
    difficult: bool
    detected: bool = False


@dataclass(frozen=True)
class Found:
    """One detection of the class; ``box`` is 1-based inclusive."""

    image: int
    box: Box
    score: float


def inclusive(box: Box) -> list[float]:
    """Half-open xyxy from 0 -> VOC's inclusive corners from 1."""
    return [box[0] + 1, box[1] + 1, box[2], box[3]]


def inclusive_iou(one: Box, two: Box) -> float:
    """The devkit's overlap: every length counts its last pixel."""
    width = min(one[2], two[2]) - max(one[0], two[0]) + 1
    height = min(one[3], two[3]) - max(one[1], two[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, two)]
    return width * height / (areas[0] + areas[1] - width * height)


def voc_curve(truths: Sequence[Truth], found: Sequence[Found]) -> list[tuple[float, float]]:
    """(recall, precision) after each counted detection, as VOCevaldet.m."""
    num_gt = sum(not truth.difficult for truth in truths)
    right, wrong, curve = 0, 0, []
    for detection in sorted(found, key=lambda each: -each.score):
        best, best_iou = None, -1.0
        for truth in truths:
            if truth.image == detection.image:
                overlap = inclusive_iou(detection.box, truth.box)
                if overlap > best_iou:
                    best, best_iou = truth, overlap
        if best is not None and best_iou >= 0.5:
            if best.difficult:
                continue
            right, wrong = (right, wrong + 1) if best.detected else (right + 1, wrong)
            best.detected = True
        else:
            wrong += 1
        curve.append((right / max(num_gt, 1), right / (right + wrong)))
    return curve


def passes(detection: Found, truth: Truth) -> bool:
    """Whether the overlap reaches the bound of this object, lower if it is small."""
    width, height = truth.box[2] - truth.box[0] + 1, truth.box[3] - truth.box[1] + 1
    bound = min(0.5, width * height / ((width + 10) * (height + 10)))
    return inclusive_iou(detection.box, truth.box) >= bound


def ilsvrc_curve(
    truths: Sequence[Truth], found: Sequence[Found], blacklist: Collection[int]
) -> list[tuple[float, float]]:
    """(recall, precision) after each counted detection: best object still free that passes its own bound.

    Neither objects nor detections on the images of the class's blacklist count.
    """
    num_gt = sum(not truth.difficult for truth in truths if truth.image not in blacklist)
    right, wrong, curve = 0, 0, []
    for detection in sorted(found, key=lambda each: -each.score):
        if detection.image in blacklist:
            continue
        passing = [truth for truth in truths if truth.image == detection.image and passes(detection, truth)]
        best, best_iou = None, 0.0
        for truth in passing:
            overlap = inclusive_iou(detection.box, truth.box)
            if overlap > best_iou and not truth.difficult and not truth.detected:
                best, best_iou = truth, overlap
        if best is not None:
            best.detected = True
            right += 1
        elif any(truth.difficult for truth in passing):
            continue
        else:
            wrong += 1
        curve.append((right / max(num_gt, 1), right / (right + wrong)))
    return curve


def eleven_points(curve: Sequence[tuple[float, float]]) -> float:
    """VOC 2007."""
    total = 0.0
    for point in range(11):
        total += max([precision for recall, precision in curve if recall >= point / 10], default=0.0)
    return total / 11


def area_under(curve: Sequence[tuple[float, float]]) -> float:
    """VOC 2010 on."""
    recalls = [0.0, *(recall for recall, _ in curve), 1.0]
    precisions = [0.0, *(precision for _, precision in curve), 0.0]
    for row in range(len(precisions) - 2, -1, -1):
        precisions[row] = max(precisions[row], precisions[row + 1])
    return sum((recalls[row] - recalls[row - 1]) * precisions[row] for row in range(1, len(recalls)))

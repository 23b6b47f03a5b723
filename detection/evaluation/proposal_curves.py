"""How well proposals cover objects: recall by number of proposals and overlap asked for, and mean best overlap.

Legend: P proposals, G ground truths of one image; O objects of all images; N counts, T overlaps, C classes.

An object counts as covered if any of the proposals reaches the overlap, whatever else that proposal covers: proposals
only have to put a box where an object is, so nothing is matched one to one (COCO's AR of detections does match).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection.evaluation.class_boxes import Bools, Floats, Ints
from detection.evaluation.coco_map import AREA_BANDS

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
"""The overlaps of COCO, .50:.05:.95; equality suffices."""

COUNTS = (10, 50, 100, 200, 300, 1000, 2000)
"""Numbers of proposals per image at which recall is told."""

ALL = int(np.iinfo(np.int64).max)
"""As a count: every proposal of the image."""


def best_of_first(overlaps: Floats, counts: Sequence[int]) -> Floats:
    """Each object's best overlap with the first proposals of its image.

    Args:
        overlaps: (P, G) IoU, proposals best first.
        counts: N numbers of proposals, each at least 1; an image with fewer proposals counts all of them.

    Returns:
        (G, N) float64 in [0, 1]; 0 without proposals.

    Raises:
        ValueError: If a count is below 1.
    """
    if min(counts, default=1) < 1:
        raise ValueError(f"counts must be 1 or more, got {min(counts)}")
    num_proposals, num_objects = overlaps.shape
    if num_proposals == 0:
        return np.zeros((num_objects, len(counts)))
    running = np.maximum.accumulate(overlaps, axis=0)  # (P, G)
    last = np.minimum(np.array(counts, dtype=np.int64), num_proposals) - 1
    return running[last].T


def recall_at(best_iou: Floats, thresholds: Sequence[float] = IOU_THRESHOLDS) -> tuple[float | None, ...]:
    """Share of the objects whose best overlap reaches each threshold.

    Args:
        best_iou: (O,) best overlap of each object.
        thresholds: T overlaps.

    Returns:
        T shares in [0, 1]; each None if there is no object.
    """
    if len(best_iou) == 0:
        return (None,) * len(thresholds)
    return tuple((best_iou[:, None] >= np.array(thresholds)).mean(axis=0).tolist())


def average_recall(best_iou: Floats) -> float | None:
    """AR: the mean of the recalls at ``IOU_THRESHOLDS``, of (O,) best overlaps; None if there is no object."""
    if len(best_iou) == 0:
        return None
    return float((best_iou[:, None] >= np.array(IOU_THRESHOLDS)).mean())


def band_masks(areas: Floats) -> dict[str, Bools]:
    """Which of O objects belong to which size, by area in square pixels of the original image.

    The bands are COCO's: up to 32^2, 32^2 to 96^2, from 96^2; an object exactly on a bound is in both.
    """
    return {name: (areas >= lowest) & (areas <= highest) for name, (lowest, highest) in AREA_BANDS.items()}


def average_best_overlap(best_iou: Floats, labels: Ints, num_classes: int) -> tuple[float | None, ...]:
    """ABO of each class: the mean over its objects of the best overlap (Uijlings et al. 2013, section 5).

    Args:
        best_iou: (O,) best overlap of each object.
        labels: (O,) class of each object, in [0, C).
        num_classes: C.

    Returns:
        C values in [0, 1]; None for a class without objects.
    """
    numbers = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=best_iou, minlength=num_classes)
    return tuple(float(total / number) if number else None for total, number in zip(sums, numbers, strict=True))

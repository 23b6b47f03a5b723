"""Average precisions of a split whose images count several times or not at all: one recount, without any matching.

Legend: B resamples, I images, C classes, M measures, T IoU thresholds; D detections and N right ones of a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detection.evaluation.class_boxes import Bools, Floats, Ints
from detection.evaluation.coco_matching import IOU_THRESHOLDS, RECALL_POINTS
from detection.evaluation.matched_classes import MatchedClass, MatchedSplit

Counts = npt.NDArray[np.uint8]
"""How often images count: a byte, as the gathers below are bound by memory. No image is ever drawn 256 times."""

Totals = npt.NDArray[np.int32]

MEASURES = ("AP", "AP50", "AP75", "VOC07", "VOC12", "ILSVRC")
"""Names of the M measures, in the order of the tables."""

VOC07_RECALL = np.arange(11) / 10

_MAX_ENTRIES = 2**18
"""Weights looked at together: what fits into the cache of a core."""


def draw_counts(num_images: int, num_resamples: int, *, seed: int) -> Counts:
    """Draws images with replacement, as many as there are: (B, I) uint8, how often each image counts.

    The same seed gives the same numbers. No images give (B, 0).
    """
    rng = np.random.default_rng(seed)
    drawn = (np.bincount(rng.integers(0, num_images, num_images), minlength=num_images) for _ in range(num_resamples))
    if num_images == 0:
        return np.zeros((num_resamples, 0), np.uint8)
    rows: Counts = np.fromiter(drawn, dtype=(np.uint8, num_images), count=num_resamples)
    return rows


def leave_out_counts(num_images: int, most_groups: int) -> Counts:
    """Leaves out one image after the other, or of more than ``most_groups`` one group after the other.

    Returns:
        (J, I) uint8, 0 for the images left out and else 1. No images give (0, 0).
    """
    groups = np.arange(min(num_images, most_groups))
    is_kept = np.arange(num_images)[None, :] % most_groups != groups[:, None]
    return np.asarray(is_kept, np.uint8)


def weighted_ap(matched: MatchedSplit, counts: Counts) -> Floats:
    """Average precision of every class, as if each image stood in the split as often as it counts.

    Time and memory: about B x (D + N x (T + 3)) steps for each class, whatever its images; tables are cut so that
    memory stays bounded.

    Args:
        matched: The split, matched once.
        counts: (B, I) how often each image counts, of any whole type; all 1 gives the numbers of the split itself.

    Returns:
        (B, C, M) in [0, 1]; NaN where a class has nothing to be found.
    """
    values = np.full((len(counts), len(matched.class_names), len(MEASURES)), np.nan)
    for label in range(len(matched.class_names)):
        coco = _class_ap(matched.coco[label], counts, RECALL_POINTS)
        voc = matched.voc[label]
        columns = [
            coco.mean(axis=1),
            coco[:, 0],
            coco[:, int(np.isclose(IOU_THRESHOLDS, 0.75).argmax())],
            _class_ap(voc, counts, VOC07_RECALL)[:, 0],
            _class_ap(voc, counts, None)[:, 0],
            _class_ap(matched.ilsvrc[label], counts, None)[:, 0],
        ]
        values[:, label] = np.stack(columns, axis=1)
    return values


def mean_over_classes(values: Floats) -> Floats:
    """(B, C, M) -> (B, M): mean over the classes that have something to be found; NaN if none has."""
    present = ~np.isnan(values)
    number = present.sum(axis=1)
    total = np.where(present, values, 0.0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _class_ap(matched: MatchedClass, counts: Counts, recall_points: Floats | None) -> Floats:
    """(B, T) average precisions of one class; NaN where it has nothing to be found.

    Args:
        matched: The class.
        counts: (B, I) how often each image counts.
        recall_points: Where precision is sampled; None takes the area under the monotone curve.
    """
    num_thresholds = len(matched.correct)
    if not len(matched.gt_image):
        return np.full((len(counts), num_thresholds), np.nan)
    # Behind the last right detection nothing adds to the area.
    last = int(np.flatnonzero(matched.correct.any(axis=0)).max(initial=-1)) + 1
    image = matched.image[:last]
    groups = _group_thresholds(matched.correct[:, :last], matched.ignored[:, :last])
    step = max(1, _MAX_ENTRIES // max(last, len(matched.gt_image)))
    parts = []
    for start in range(0, len(counts), step):
        chunk = counts[start : start + step]
        num_gt = chunk.take(matched.gt_image, axis=1).sum(axis=1, dtype=np.int32)
        weights = chunk.take(image, axis=1)  # many times as fast as chunk[:, image] where a row leaves the cache
        values = _curves_ap(weights, groups, num_gt=num_gt, recall_points=recall_points)
        values[num_gt == 0] = np.nan
        parts.append(values)
    return np.concatenate([np.zeros((0, num_thresholds)), *parts])


class _Group(NamedTuple):
    """IoU thresholds that leave out the same detections.

    Attributes:
        shown: (D,) which detections are right or wrong; None if all are.
        places: Place of the threshold among the T -> (N,) its right detections, best score first.
    """

    shown: Bools | None
    places: dict[int, Ints]


def _group_thresholds(correct: Bools, ignored: Bools) -> list[_Group]:
    """What all resamples have in common, from (T, D) each; looked at once, since it costs as much as a resample."""
    groups: list[_Group] = []
    for place, (right, left_out) in enumerate(zip(correct, ignored, strict=True)):
        if not place or not np.array_equal(left_out, ignored[place - 1]):
            groups.append(_Group(~left_out if left_out.any() else None, {}))
        groups[-1].places[place] = np.flatnonzero(right)
    return groups


def _curves_ap(weights: Counts, groups: Sequence[_Group], *, num_gt: Totals, recall_points: Floats | None) -> Floats:
    """(b, D) weights of the detections -> (b, T) average precisions."""
    values = np.zeros((len(weights), sum(len(group.places) for group in groups)))
    for shown, places_of in groups:
        counted = np.cumsum(weights if shown is None else weights * shown, axis=1, dtype=np.int32)
        for threshold, places in places_of.items():
            found = np.cumsum(weights.take(places, axis=1), axis=1, dtype=np.int32)
            values[:, threshold] = _area(found, counted.take(places, axis=1), num_gt, recall_points)
    return values


def _area(found: Totals, counted: Totals, num_gt: Totals, recall_points: Floats | None) -> Floats:
    """Average precision of b curves given at their right detections, of which some may weigh nothing.

    Between right detections recall stands still and precision falls, so these points hold the whole monotone curve.

    Args:
        found: (b, N) right detections up to and with each.
        counted: (b, N) detections up to and with each, right or wrong.
        num_gt: (b,) objects to be found.
        recall_points: Where precision is sampled, ascending from 0; None takes the area.
    """
    precision = found / np.maximum(counted, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / np.maximum(num_gt, 1)[:, None]
    if recall_points is None:
        share = np.diff(recall, axis=1, prepend=0.0)
    else:
        share = np.diff(_reached(recall, recall_points), axis=1, prepend=0) / len(recall_points)
    return np.asarray((share * envelope).sum(axis=1), np.float64)


def _reached(recall: Floats, points: Floats) -> Totals:
    """Number of the points that are not above each recall, as ``searchsorted`` from the right tells, but faster.

    Args:
        recall: Quotients of whole numbers below 1e8, in [0, 1].
        points: Evenly spaced from 0 to 1, each correct but for rounding.
    """
    # The small term makes up for rounding; a recall that truly lies below a point is farther from it.
    last = (recall * (len(points) - 1) + 1e-9).astype(np.int32)
    return np.asarray(last + (points[last] <= recall), np.int32)

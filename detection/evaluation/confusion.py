"""Which classes are taken for which, with every class cut at its score threshold.

Legend: C classes, G ground truths and D detections over all images, d and g those of one image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection.evaluation.class_boxes import Bools, Floats, Ints, SplitBoxes, pairwise_iou, share_inside
from detection.evaluation.error_types import FOREGROUND_IOU, match_greedily

MAX_IMAGES = 8
"""Images named for one cell."""


@dataclass(frozen=True)
class Confusion:
    """How often an object of one class was taken for another.

    Attributes:
        counts: (C + 1, C + 1); row: class of the object, last row: no object (false detections); column: class of the
            detection, last column: none (missed). A row of a class sums to its objects to be found.
        images: (row, column) of each cell that is not 0 -> indices of images it comes from, most first.
    """

    counts: Ints
    images: Mapping[tuple[int, int], tuple[int, ...]]

    def to_metrics(self, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
        """The entry in ``metrics.json``: the cells that are not 0; None stands for no object or no detection."""
        names = [*class_names, None]
        return [
            {"truth": names[row], "predicted": names[column], "count": int(self.counts[row, column])}
            for row, column in np.argwhere(self.counts > 0).tolist()
        ]


def count_confusions(split: SplitBoxes, score_thresholds: Floats) -> Confusion:
    """Matches objects and detections whatever their classes and counts the pairs.

    Going down the scores, a detection takes the object it overlaps most (IoU 0.5 or more) among those still free; where
    objects share a box, one of its own class. One that finds none free, but lies on an ignored object with IoU 0.5 or
    half its area, is not counted.

    Args:
        split: All boxes.
        score_thresholds: (C,) detections of a class below are not looked at.
    """
    nothing = split.num_classes
    taken_for = np.full(len(split.gt_labels), nothing)
    kept = np.asarray(split.scores >= score_thresholds[split.labels], np.bool_)
    is_false = np.zeros(len(split.scores), np.bool_)
    for rows, gt_rows in split.by_image(kept):
        matched, is_false[rows] = _match(split, rows, gt_rows)
        taken_for[gt_rows[matched[matched >= 0]]] = split.labels[rows[matched >= 0]]
    to_find = ~split.gt_ignore
    truth = np.concatenate([split.gt_labels[to_find], np.full(np.count_nonzero(is_false), nothing)])
    predicted = np.concatenate([taken_for[to_find], split.labels[is_false]])
    image = np.concatenate([split.gt_image[to_find], split.image[is_false]])
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return Confusion(counts, _images_of_cells(truth * (nothing + 1) + predicted, image, nothing + 1))


def _match(split: SplitBoxes, rows: Ints, gt_rows: Ints) -> tuple[Ints, Bools]:
    """Matches one image: the local ground truth of each detection (-1 for none), and which are false, (d,) each."""
    boxes, gt_boxes, ignore = split.boxes[rows], split.gt_boxes[gt_rows], split.gt_ignore[gt_rows]
    iou = pairwise_iou(boxes, gt_boxes)
    is_same = split.labels[rows][:, None] == split.gt_labels[gt_rows][None, :]
    matched = match_greedily(np.where(ignore, 0.0, iou), preferred=is_same)
    on_ignored = np.maximum(iou, share_inside(boxes, gt_boxes))[:, ignore].max(axis=1, initial=0.0) >= FOREGROUND_IOU
    return matched, (matched < 0) & ~on_ignored


def _images_of_cells(cells: Ints, image: Ints, width: int) -> dict[tuple[int, int], tuple[int, ...]]:
    """The images with the most entries of each cell.

    Args:
        cells: (N,) row * ``width`` + column of each entry.
        image: (N,) where it lies.
        width: Columns of the matrix.
    """
    num_images = int(image.max(initial=0)) + 1
    pairs, counts = np.unique(cells * num_images + image, return_counts=True)  # as one number: fields sort slowly
    cell, place = np.divmod(pairs, num_images)
    images: dict[tuple[int, int], tuple[int, ...]] = {}
    for entry in np.lexsort((place, -counts, cell)).tolist():
        row, column = divmod(int(cell[entry]), width)
        known = images.get((row, column), ())
        if len(known) < MAX_IMAGES:
            images[row, column] = (*known, int(place[entry]))
    return images

"""COCO's matching of detections with objects, as pycocotools does it, but of all images and classes at once.

In the order of their scores the detections of an image and class each take the free object that they overlap most. Two
detections of different images, of different classes, or at different places of that order never compete: so
all detections of one place choose together, and there are as many rounds as an image has detections of a class.
Legend: T IoU thresholds; G ground truths and D detections of the split, P pairs that overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pycocotools import mask

from detection.evaluation.class_boxes import Bools, Floats, Ints, SplitBoxes

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's, made as pycocotools makes them."""

RECALL_POINTS = np.linspace(0, 1, 101)
"""Where COCO samples precision, made as pycocotools makes them."""

MAX_DETECTIONS = 100
"""Detections counted per image and class, best score first, unless another number is asked for."""


@dataclass(frozen=True)
class CocoMatches:
    """What became of each detection at each threshold: right, left out, or else wrong.

    Attributes:
        correct: (T, D) finds an object.
        ignored: (T, D) on an ignored object, or not counted: neither right nor wrong.
    """

    correct: Bools
    ignored: Bools


@dataclass(frozen=True)
class OverlappingPairs:
    """Detections and objects of one image and class that overlap by the lowest threshold or more.

    Sorted by place; the pairs of a detection lie together, and the one it would take comes last.

    Attributes:
        row: (P,) detection.
        gt_row: (P,) object.
        overlap: (P,) IoU; with a crowd the share of the detection inside it.
        place: (P,) of the detection among those of its image and class, best score 0.
    """

    row: Ints
    gt_row: Ints
    overlap: Floats
    place: Ints

    def chosen(self, which: Bools) -> OverlappingPairs:
        """Some of the pairs."""
        return OverlappingPairs(self.row[which], self.gt_row[which], self.overlap[which], self.place[which])

    def by_place(self) -> Iterator[tuple[Ints, Ints]]:
        """Detections and objects of each place in turn: no two detections of a place can want the same object."""
        starts = np.flatnonzero(np.diff(self.place, prepend=-1))
        for start, stop in pairwise(np.append(starts, len(self.place)).tolist()):
            yield self.row[start:stop], self.gt_row[start:stop]


@dataclass(frozen=True)
class CocoMatcher:
    """The overlaps of a split, from which it is matched as often as objects of other sizes are asked for.

    Attributes:
        split: All boxes; those ignored count as crowds.
        places: (D,) of each detection among those of its image and class, best score 0.
        counted: (D,) whether it is among the best of its image and class that count.
        pairs: What may match.
    """

    split: SplitBoxes
    places: Ints
    counted: Bools
    pairs: OverlappingPairs

    @classmethod
    def of(cls, split: SplitBoxes, *, max_detections: int) -> CocoMatcher:
        """Overlaps of a split; ``max_detections`` of each image and class count."""
        places = places_in_class(split)
        counted = places < max_detections
        return cls(split, places, counted, _overlapping(split, counted, places))

    def match(self, gt_outside: Bools, outside: Bools) -> CocoMatches:
        """Matches at all thresholds.

        Args:
            gt_outside: (G,) objects that are not asked for, since they have another size.
            outside: (D,) detections of another size: left out where they match nothing.
        """
        gt_left_out = self.split.gt_ignore | gt_outside
        matched = [self._match_at(iou, gt_left_out) for iou in IOU_THRESHOLDS.tolist()]
        correct = np.array([each[0] for each in matched])
        on_ignored = np.array([each[1] for each in matched])
        return CocoMatches(correct, on_ignored | ((outside | ~self.counted) & ~correct))

    def _match_at(self, iou: float, gt_left_out: Bools) -> tuple[Bools, Bools]:
        """(D,) which detections find an object that is asked for, (D,) which find one that is left out.

        The latter are only looked at where there is none of the former, and a crowd is never used up.
        """
        near = self.pairs.chosen(self.pairs.overlap >= iou)
        of_left_out = gt_left_out[near.gt_row]
        never = np.zeros(len(gt_left_out), np.bool_)
        correct = _take(near.chosen(~of_left_out), len(self.places), endless=never)
        rest = near.chosen(of_left_out & ~correct[near.row])
        return correct, _take(rest, len(self.places), endless=self.split.gt_ignore)


def _take(pairs: OverlappingPairs, num_detections: int, *, endless: Bools) -> Bools:
    """Gives the objects away: (D,) which detections get one.

    Args:
        pairs: Who may have what.
        num_detections: D.
        endless: (G,) objects that any number of detections may have.
    """
    got = np.zeros(num_detections, np.bool_)
    if endless[pairs.gt_row].all():
        got[pairs.row] = True
        return got
    free = np.ones(len(endless), np.bool_)
    for place_rows, place_gt_rows in pairs.by_place():
        is_free = free[place_gt_rows]
        rows, gt_rows = place_rows[is_free], place_gt_rows[is_free]
        taken = gt_rows[np.diff(rows, append=-1) != 0]  # the last of each detection's
        got[rows] = True
        free[taken] = endless[taken]
    return got


def _overlapping(split: SplitBoxes, counted: Bools, places: Ints) -> OverlappingPairs:
    """All pairs that could match at the lowest threshold."""
    rows, gt_rows, overlaps = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    boxes, gt_boxes = _xywh(split.boxes), _xywh(split.gt_boxes)
    for image_rows, image_gt_rows in split.by_image(counted):
        if not len(image_gt_rows):
            continue
        # pycocotools' own overlap: equal to the last bit, on which a threshold may hang.
        overlap = mask.iou(boxes[image_rows], gt_boxes[image_gt_rows], split.gt_ignore[image_gt_rows].tolist())
        same = split.labels[image_rows][:, None] == split.gt_labels[image_gt_rows][None, :]
        row, column = np.nonzero(same & (overlap >= IOU_THRESHOLDS[0]))
        rows.append(image_rows[row])
        gt_rows.append(image_gt_rows[column])
        overlaps.append(overlap[row, column])
    row, gt_row, overlap = np.concatenate(rows), np.concatenate(gt_rows), np.concatenate(overlaps)
    # Of objects overlapped equally pycocotools takes the last.
    order = np.lexsort((gt_row, overlap, row, places[row]))
    return OverlappingPairs(row[order], gt_row[order], overlap[order], places[row[order]])


def _xywh(boxes: Floats) -> Floats:
    """(N, 4) xyxy -> [x, y, width, height], which is what pycocotools is told."""
    return np.ascontiguousarray(np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]))


def places_in_class(split: SplitBoxes) -> Ints:
    """(D,) place of each detection among those of its image and class, best score 0."""
    group = split.image * max(split.num_classes, 1) + split.labels
    order = np.argsort(group, kind="stable")
    places = np.empty_like(order)
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    places[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return places


def rows_by_class(split: SplitBoxes, image_ids: Ints) -> list[Ints]:
    """Detections of each class, best score first; of equal scores that of the lowest image id, as in pycocotools."""
    order = np.arange(len(split.scores))
    if (np.diff(image_ids) < 0).any():  # else the order of the split is that of the ids
        order = np.lexsort((image_ids[split.image], -split.scores))
    labels = split.labels.astype(np.min_scalar_type(split.num_classes))  # small integers are sorted in linear time
    order = order[np.argsort(labels[order], kind="stable")]
    bounds = np.searchsorted(labels[order], np.arange(split.num_classes + 1))
    return [order[start:stop] for start, stop in pairwise(bounds.tolist())]

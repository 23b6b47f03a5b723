"""What became of each detection under every protocol at once: what an average precision is recomputed from.

Matching does not depend on which images count how often, so it is done once, and each resample of the images is only a
weighted recount (``bootstrap.py``).
Legend: I images, C classes, T IoU thresholds; G ground truths and D detections over all images, of one class or of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from detection.evaluation.class_boxes import (
    Bools,
    ClassBoxes,
    Floats,
    Ints,
    SplitBoxes,
    box_areas,
    pairwise_iou,
    share_inside,
)
from detection.evaluation.coco_map import MAX_DETECTIONS
from detection.evaluation.size_bands import MAX_AREA
from detection.evaluation.voc_map import Matches, match_ilsvrc, match_voc

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's, made as pycocotools makes them."""


@dataclass(frozen=True)
class MatchedClass:
    """The detections of one class, best score first.

    Attributes:
        image: (D,) index of the image in the split.
        correct: (T, D) finds an object.
        ignored: (T, D) on an ignored object, or not counted: neither right nor wrong.
        num_gt: (I,) objects to be found.
    """

    image: Ints
    correct: Bools
    ignored: Bools
    num_gt: Ints


@dataclass(frozen=True)
class MatchedSplit:
    """Every class under every protocol, each tuple in label order.

    Attributes:
        class_names: C names.
        num_images: I.
        coco: COCO's matching at its T = 10 thresholds, ignored objects as crowd.
        voc: That of the VOC devkits, T = 1.
        ilsvrc: That of the ILSVRC devkit, T = 1.
    """

    class_names: tuple[str, ...]
    num_images: int
    coco: tuple[MatchedClass, ...]
    voc: tuple[MatchedClass, ...]
    ilsvrc: tuple[MatchedClass, ...]


def match_split(
    split: SplitBoxes, *, image_ids: Sequence[int] | None = None, max_detections: int = MAX_DETECTIONS
) -> MatchedSplit:
    """Matches a split once under every protocol.

    Work grows with the number of detections and of overlapping pairs; COCO's ten thresholds share the overlaps.

    Args:
        split: All boxes.
        image_ids: I ids: of detections with equal scores pycocotools takes that of the lowest id first. None takes the
            order of the split.
        max_detections: Detections that COCO counts per image and class.
    """
    labels = range(split.num_classes)
    boxes = [split.of_class(label) for label in labels]
    counts = [np.bincount(each.gt_image[~each.gt_ignore], minlength=split.num_images) for each in boxes]
    return MatchedSplit(
        class_names=split.class_names,
        num_images=split.num_images,
        coco=_match_coco(split, counts, image_ids=image_ids, max_detections=max_detections),
        voc=tuple(_of_devkit(boxes[label], match_voc(boxes[label]), counts[label]) for label in labels),
        ilsvrc=tuple(_of_devkit(boxes[label], match_ilsvrc(boxes[label]), counts[label]) for label in labels),
    )


def _of_devkit(boxes: ClassBoxes, matches: Matches, num_gt: Ints) -> MatchedClass:
    """The matches of a devkit, which knows one threshold."""
    return MatchedClass(boxes.image, matches.correct[None], matches.ignored[None], num_gt)


@dataclass(frozen=True)
class _Pairs:
    """Detections and objects of one image and class that overlap by the lowest threshold or more, P of them.

    Sorted by place; the pairs of a detection lie together, that which it would take last.

    Attributes:
        row: (P,) detection.
        gt_row: (P,) object.
        overlap: (P,) IoU; with an ignored object the share of the detection inside it.
        is_ignored: (P,) whether the object is ignored.
        place: (P,) of the detection among those of its image and class, best score 0.
    """

    row: Ints
    gt_row: Ints
    overlap: Floats
    is_ignored: Bools
    place: Ints

    def chosen(self, mask: Bools) -> _Pairs:
        """Some of the pairs."""
        return _Pairs(self.row[mask], self.gt_row[mask], self.overlap[mask], self.is_ignored[mask], self.place[mask])

    def by_place(self) -> Iterator[tuple[Ints, Ints]]:
        """Detections and objects of each place in turn: no two detections of a place can want the same object."""
        starts = np.flatnonzero(np.diff(self.place, prepend=-1))
        for start, stop in pairwise(np.append(starts, len(self.place)).tolist()):
            yield self.row[start:stop], self.gt_row[start:stop]


def _match_coco(
    split: SplitBoxes, counts: Sequence[Ints], *, image_ids: Sequence[int] | None, max_detections: int
) -> tuple[MatchedClass, ...]:
    """Matches all classes as pycocotools does, with the area of objects unbounded."""
    places = _places(split)
    counted = places < max_detections
    pairs = _overlapping(split, counted, places)
    matched = [_take(pairs.chosen(pairs.overlap >= iou), split) for iou in IOU_THRESHOLDS.tolist()]
    correct = np.array([each[0] for each in matched])
    # A detection beyond any area that matches nothing is left out, as pycocotools leaves it.
    left_out = ~counted | (box_areas(split.boxes) > MAX_AREA)
    ignored = np.array([each[1] for each in matched]) | (left_out & ~correct)
    ids = np.arange(split.num_images) if image_ids is None else np.array(image_ids, dtype=np.int64)
    order = np.lexsort((ids[split.image], -split.scores))
    classes = []
    for label in range(split.num_classes):
        rows = order[split.labels[order] == label]
        classes.append(MatchedClass(split.image[rows], correct[:, rows], ignored[:, rows], counts[label]))
    return tuple(classes)


def _overlapping(split: SplitBoxes, counted: Bools, places: Ints) -> _Pairs:
    """All pairs that could match at the lowest threshold."""
    rows, gt_rows, overlaps = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for image_rows, image_gt_rows in split.by_image(counted):
        overlap = _overlap(split, image_rows, image_gt_rows)
        row, column = np.nonzero(overlap >= IOU_THRESHOLDS[0])
        rows.append(image_rows[row])
        gt_rows.append(image_gt_rows[column])
        overlaps.append(overlap[row, column])
    row, gt_row, overlap = np.concatenate(rows), np.concatenate(gt_rows), np.concatenate(overlaps)
    # Of objects overlapped equally pycocotools takes the last.
    order = np.lexsort((gt_row, overlap, row, places[row]))
    row, gt_row = row[order], gt_row[order]
    return _Pairs(row, gt_row, overlap[order], split.gt_ignore[gt_row], places[row])


def _overlap(split: SplitBoxes, rows: Ints, gt_rows: Ints) -> Floats:
    """(d, g) overlap of the detections of an image with its objects, by COCO's measure; 0 with another class."""
    boxes, gt_boxes, ignore = split.boxes[rows], split.gt_boxes[gt_rows], split.gt_ignore[gt_rows]
    overlap = pairwise_iou(boxes, gt_boxes)
    if ignore.any():
        overlap[:, ignore] = share_inside(boxes, gt_boxes[ignore])
    return np.where(split.labels[rows][:, None] == split.gt_labels[gt_rows][None, :], overlap, 0.0)


def _take(pairs: _Pairs, split: SplitBoxes) -> tuple[Bools, Bools]:
    """Gives the objects away at one threshold: (D,) which detections find one, (D,) which fall on ignored ones."""
    correct = np.zeros(len(split.scores), np.bool_)
    free = np.ones(len(split.gt_labels), np.bool_)
    for place_rows, place_gt_rows in pairs.chosen(~pairs.is_ignored).by_place():
        is_free = free[place_gt_rows]
        rows, gt_rows = place_rows[is_free], place_gt_rows[is_free]
        is_last = np.diff(rows, append=-1) != 0
        correct[rows[is_last]] = True
        free[gt_rows[is_last]] = False
    ignored = np.zeros_like(correct)
    ignored[pairs.row[pairs.is_ignored]] = True
    return correct, ignored & ~correct


def _places(split: SplitBoxes) -> Ints:
    """(D,) place of each detection among those of its image and class, best score 0."""
    group = split.image * max(split.num_classes, 1) + split.labels
    order = np.argsort(group, kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order)) - np.searchsorted(group[order], group[order], side="left")
    return places

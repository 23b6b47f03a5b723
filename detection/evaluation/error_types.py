"""What kind of error each wrong detection and each missed object is, and the AP50 that each kind costs.

After TIDE (Bolya et al. 2020, 2008.08115): foreground at IoU 0.5 or more, background up to 0.1. Matching is COCO's at
IoU 0.5: going down the scores, a detection takes the object of its class that it overlaps most and that is still free.
Costs follow the paper (of several claims to a mended object the best-scored stays), while its program tidecv keeps the
matched detection, so figures need not equal tidecv's; a class left without objects once the missed are
forgiven, and of which nothing is detected, counts 1 here.
Legend: G ground truths and D detections over all images and classes, C classes, d and g those of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from detection.evaluation.class_boxes import Bools, Floats, Ints, SplitBoxes, pairwise_iou, share_inside
from detection.evaluation.coco_matching import MAX_DETECTIONS, RECALL_POINTS, places_in_class

CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)
RIGHT, LEFT_OUT = -1, -2

ERROR_KINDS = {
    "classification": "fits an object of another class",
    "localisation": "on an object of its class, but overlaps it too little",
    "both": "overlaps an object of another class, and too little",
    "duplicate": "the object has a better detection",
    "background": "no labelled object there",
    "missed": "no detection finds it, nor would one with another class or a better box",
}
"""Kinds by number: the name of number n is the n-th."""

FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1


@dataclass(frozen=True)
class ErrorAnalysis:
    """The errors of a split.

    Attributes:
        split: Its boxes.
        kinds: (D,) number of the kind of error of a detection; ``RIGHT``, or ``LEFT_OUT`` for one on an ignored object
            of its class or beyond the number of detections that COCO counts.
        targets: (D,) row of the ground truth that a right detection found, or that one with an error of class or place
            would find if that were mended; else -1.
        image_ids: (I,) of its images.
    """

    split: SplitBoxes
    kinds: Ints
    targets: Ints
    image_ids: Ints

    def counts(self, score_thresholds: Floats | None = None) -> dict[str, int]:
        """Errors of each kind.

        Args:
            score_thresholds: (C,) detections of a class below are not looked at; None looks at all.
        """
        kept = self._kept(score_thresholds)
        counts = np.bincount(self.kinds[kept & (self.kinds >= 0)], minlength=len(ERROR_KINDS))
        counts[MISSED] = np.count_nonzero(self.missed(score_thresholds))
        return dict(zip(ERROR_KINDS, counts.tolist(), strict=True))

    def missed(self, score_thresholds: Floats | None = None) -> Bools:
        """(G,) objects that are not found, nor would be if an error of class or place were mended."""
        split, kept = self.split, self._kept(score_thresholds)
        missed = ~split.gt_ignore
        missed[self.targets[kept & (self.targets >= 0)]] = False
        return missed

    @cached_property
    def ap50(self) -> float | None:
        """Mean over the classes of COCO's AP at IoU 0.5; None without objects."""
        return self._mean_ap(self.split.labels, self.kinds != LEFT_OUT, self.kinds == RIGHT)

    @cached_property
    def costs(self) -> dict[str, float | None]:
        """AP50 that the errors of each kind cost: what mending only them would add. Without objects all are None."""
        return {name: self._cost(number) for number, name in enumerate(ERROR_KINDS)}

    def _cost(self, number: int) -> float | None:
        if self.ap50 is None:
            return None
        mended = self._ap_without_missed() if number == MISSED else self._ap_mended(number)
        # Recall is sampled at 101 points, so mending may seem to take away a trace.
        return None if mended is None else max(mended - self.ap50, 0.0)

    def _ap_mended(self, number: int) -> float | None:
        """AP50 if no detection had this error.

        An error of class or place is put right; where the object then has several detections, the best stays. Other
        errors go: for duplicate, background and both, nobody can say what the detections should have been.
        """
        labels, correct = self.split.labels, self.kinds == RIGHT
        counted = (self.kinds != LEFT_OUT) & (self.kinds != number)
        if number in (CLASSIFICATION, LOCALISATION):
            claims = np.flatnonzero((self.kinds == RIGHT) | (self.kinds == number))
            _, best = np.unique(self.targets[claims], return_index=True)  # rows go down the scores
            correct = np.zeros_like(correct)
            correct[claims[best]] = True
            counted[claims] = correct[claims]
            labels = labels.copy()
            labels[correct] = self.split.gt_labels[self.targets[correct]]
        return self._mean_ap(labels, counted, correct)

    def _ap_without_missed(self) -> float | None:
        """AP50 if nobody asked for the missed objects: the curve is stretched, as if they were found as precisely."""
        forgiven = np.bincount(self.split.gt_labels[self.missed()], minlength=self.split.num_classes)
        return self._mean_ap(self.split.labels, self.kinds != LEFT_OUT, self.kinds == RIGHT, forgiven=forgiven)

    def _mean_ap(self, labels: Ints, counted: Bools, correct: Bools, *, forgiven: Ints | None = None) -> float | None:
        """Mean AP over the classes that have objects; ``forgiven`` (C,) of these need not be found."""
        num_gt = self.split.gt_counts()
        left = num_gt if forgiven is None else num_gt - forgiven
        rows = self._order[np.argsort(labels[self._order], kind="stable")]  # class after class
        rows = rows[counted[rows]]
        bounds = np.searchsorted(labels[rows], np.arange(self.split.num_classes + 1))
        values = [
            _average_precision(correct[rows[bounds[label] : bounds[label + 1]]], int(left[label]))
            for label in np.flatnonzero(num_gt).tolist()
        ]
        return float(np.mean(values)) if values else None

    @cached_property
    def _order(self) -> Ints:
        """(D,) rows of the detections, best score first; of equal scores that of the lowest image id."""
        return np.lexsort((self.image_ids[self.split.image], -self.split.scores))

    def _kept(self, score_thresholds: Floats | None) -> Bools:
        """(D,) detections of at least the threshold of their class."""
        if score_thresholds is None:
            return np.ones(len(self.split.scores), np.bool_)
        return np.asarray(self.split.scores >= score_thresholds[self.split.labels], np.bool_)


def find_errors(
    split: SplitBoxes, *, image_ids: Sequence[int] | None = None, max_detections: int = MAX_DETECTIONS
) -> ErrorAnalysis:
    """Finds the error of every wrong detection; ignored objects never make one.

    A detection that is several things at once is the first of: localisation, classification, duplicate, background,
    both; so does the program of the paper.

    Args:
        split: All boxes.
        image_ids: Of its images; of equal scores that of the lowest id comes first. None: that of the first image.
        max_detections: Detections counted per image and class, best score first; the others are left out.
    """
    kinds = np.full(len(split.scores), LEFT_OUT)
    targets = np.full(len(split.scores), -1)
    counted = places_in_class(split) < max_detections
    for rows, gt_rows in split.by_image(counted):
        overlaps = _ImageOverlaps.of(split, rows, gt_rows)
        kinds[rows], local = _judge(overlaps)
        targets[rows] = np.append(gt_rows, -1)[local]
    ids = np.arange(split.num_images) if image_ids is None else np.asarray(image_ids, dtype=np.int64)
    return ErrorAnalysis(split, kinds, targets, ids)


@dataclass(frozen=True)
class _ImageOverlaps:
    """How the detections and the ground truths of one image lie to each other, (d, g) each.

    Attributes:
        same: IoU with objects to be found of the detection's class; 0 for others.
        other: IoU with objects to be found of other classes; 0 for others.
        ignored: Share of the detection inside ignored objects of its class; 0 for others.
    """

    same: Floats
    other: Floats
    ignored: Floats

    @classmethod
    def of(cls, split: SplitBoxes, rows: Ints, gt_rows: Ints) -> _ImageOverlaps:
        """Of the detections ``rows`` (d,) and the ground truths ``gt_rows`` (g,) of one image."""
        iou = pairwise_iou(split.boxes[rows], split.gt_boxes[gt_rows])
        is_same = split.labels[rows][:, None] == split.gt_labels[gt_rows][None, :]
        ignore = split.gt_ignore[gt_rows][None, :]
        share = np.zeros_like(iou)
        if ignore.any():
            share = np.where(is_same & ignore, share_inside(split.boxes[rows], split.gt_boxes[gt_rows]), 0.0)
        return cls(np.where(is_same & ~ignore, iou, 0.0), np.where(is_same | ignore, 0.0, iou), share)


def _judge(overlaps: _ImageOverlaps) -> tuple[Ints, Ints]:
    """Kind and local ground truth (-1 for none) of the detections of one image, (d,) each."""
    taken = match_greedily(overlaps.same)
    best_same, best_other = overlaps.same.max(axis=1, initial=0.0), overlaps.other.max(axis=1, initial=0.0)
    tests = [
        (taken >= 0, RIGHT),
        (overlaps.ignored.max(axis=1, initial=0.0) >= FOREGROUND_IOU, LEFT_OUT),
        ((best_same >= BACKGROUND_IOU) & (best_same < FOREGROUND_IOU), LOCALISATION),
        (best_other >= FOREGROUND_IOU, CLASSIFICATION),
        (best_same >= FOREGROUND_IOU, DUPLICATE),
        (np.maximum(best_same, best_other) <= BACKGROUND_IOU, BACKGROUND),
    ]
    kinds = np.select([test for test, _ in tests], [number for _, number in tests], default=BOTH)
    target = np.where(kinds == RIGHT, taken, -1)
    for number, overlap in ((LOCALISATION, overlaps.same), (CLASSIFICATION, overlaps.other)):
        rows = np.flatnonzero(kinds == number)
        if len(rows):
            target[rows] = overlap[rows].argmax(axis=1)
    return kinds, target


def match_greedily(iou: Floats, *, iou_threshold: float = FOREGROUND_IOU, preferred: Bools | None = None) -> Ints:
    """Gives each object of one image to the first detection that overlaps it enough and no free object more.

    Args:
        iou: (d, g) best score first; 0 where a pair may not be matched.
        iou_threshold: Overlap needed, above 0; equality suffices.
        preferred: (d, g) objects that a detection takes before others which it overlaps equally; None for no
            preference.

    Returns:
        (d,) column of the object, -1 for none. Of columns overlapped and preferred equally the last is taken, as by
        pycocotools.
    """
    free = np.where(iou >= iou_threshold, iou, 0.0)
    taken = np.full(len(iou), -1)
    for row in np.flatnonzero(free.max(axis=1, initial=0.0) > 0):
        best = np.flatnonzero(free[row] == free[row].max())
        if preferred is not None and preferred[row, best].any():
            best = best[preferred[row, best]]
        column = best[-1]
        if free[row, column] > 0:
            taken[row] = column
            free[:, column] = 0.0
    return taken


def _average_precision(correct: Bools, num_gt: int) -> float:
    """COCO's AP of one class: mean precision, made monotone, at recall 0, 0.01 .. 1.

    With nothing left to be found it is 0 if there is a detection, which is wrong then, and 1 if there is none.

    Args:
        correct: (N,) its detections, best score first.
        num_gt: Objects to be found.
    """
    if num_gt == 0:
        return float(len(correct) == 0)
    found = np.cumsum(correct)
    precision = np.maximum.accumulate((found / np.arange(1, len(found) + 1))[::-1])[::-1]
    places = np.searchsorted(found / num_gt, RECALL_POINTS, side="left")
    return float(np.append(precision, 0.0)[places].mean())

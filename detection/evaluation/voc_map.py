"""Average precision as the PASCAL VOC devkits (2007, 2010 on) and the ILSVRC detection devkit compute it.

Three steps, each a pure function: match detections to ground truths, draw the precision-recall curve, take its area.
Legend: G ground truths and D detections of one class over all images; N counted detections (D without the ignored).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from detection.evaluation.class_boxes import Bools, ClassBoxes, Floats, Ints, share_inside

SHARE_INSIDE = 0.5
"""Share of a detection inside an ignored object of its class, from which on it does not count as false in use."""


@dataclass(frozen=True)
class Matches:
    """What became of each detection of one class, best score first.

    Attributes:
        scores: (D,) descending.
        gt_index: (D,) row of the ground truth it was matched to; -1 is a false positive.
        ignored: (D,) matched to an ignored ground truth, or as good as that: neither right nor wrong.
        num_gt: Ground truths to be found (ignored ones left out).
    """

    scores: Floats
    gt_index: Ints
    ignored: Bools
    num_gt: int

    @property
    def correct(self) -> Bools:
        """(D,) true positives."""
        return (self.gt_index >= 0) & ~self.ignored

    @property
    def wrong(self) -> Bools:
        """(D,) false positives."""
        return (self.gt_index < 0) & ~self.ignored


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall when the detections down to a score are kept.

    Attributes:
        scores: (N,) descending; row n keeps detections 0..n.
        precision: (N,) in [0, 1].
        recall: (N,) in [0, 1], never falling.
        num_gt: Ground truths to be found; 0 means that the class is absent and has no average precision.
    """

    scores: Floats
    precision: Floats
    recall: Floats
    num_gt: int


def match_voc(boxes: ClassBoxes, *, iou_threshold: float = 0.5) -> Matches:
    """Matches as VOCevaldet.m: each detection looks only at the ground truth it overlaps most.

    That ground truth is chosen before anything is known about it: if it is difficult the detection is ignored, if a
    better detection has it the detection is a false positive, even where a second ground truth overlaps enough.
    Of ground truths overlapped equally the first counts.

    Args:
        boxes: One class.
        iou_threshold: Overlap needed; equality suffices.
    """
    best_iou = np.zeros(len(boxes.scores))
    best_gt = np.full(len(boxes.scores), -1)
    for rows, gt_rows, iou in boxes.overlaps():
        best_iou[rows] = iou.max(axis=1)
        best_gt[rows] = gt_rows[iou.argmax(axis=1)]
    hit = best_iou >= iou_threshold
    ignored = hit & _is_ignored(boxes, best_gt)
    hits = np.flatnonzero(hit & ~ignored)
    _, first = np.unique(best_gt[hits], return_index=True)
    matched = ignored.copy()
    matched[hits[first]] = True
    return Matches(boxes.scores, np.where(matched, best_gt, -1), ignored, boxes.num_gt)


def match_for_use(boxes: ClassBoxes) -> Matches:
    """Matches as ``match_voc``, but for what ``spare_ignored`` spares."""
    return spare_ignored(boxes, match_voc(boxes))


def spare_ignored(boxes: ClassBoxes, matches: Matches) -> Matches:
    """Ignores wrong detections with half of themselves or more in an ignored object.

    What a detector is worth to a user must not suffer from what nobody labelled one by one: a crowd is one box around
    many objects, with which each of them overlaps too little for the devkit's rule. COCO leaves them out alike.

    Args:
        boxes: One class.
        matches: What ``match_voc`` says of it.
    """
    if not boxes.gt_ignore.any():
        return matches
    ignored = matches.ignored.copy()
    for rows, gt_rows, _ in boxes.overlaps():
        crowds = boxes.gt_boxes[gt_rows[boxes.gt_ignore[gt_rows]]]
        inside = share_inside(boxes.boxes[rows], crowds).max(axis=1, initial=0.0) >= SHARE_INSIDE
        ignored[rows] |= inside & matches.wrong[rows]
    return replace(matches, ignored=ignored)


def match_ilsvrc(boxes: ClassBoxes) -> Matches:
    """Matches as the ILSVRC detection devkit: the best ground truth still free that passes its own bound.

    The bound min(0.5, wh / ((w + 10)(h + 10))) is lower for small objects (square side below 24.1 pixels).

    The devkit's blacklist is left out before (``SplitBoxes.unjudged_images``). It knows no ignored objects: a detection
    that finds no free ground truth but passes the bound of an ignored one is ignored.
    """
    gt_index = np.full(len(boxes.scores), -1)
    bounds = ilsvrc_iou_bound(boxes.gt_boxes)
    for rows, gt_rows, iou in boxes.overlaps():
        passing = np.where(iou >= bounds[gt_rows], iou, 0.0)
        local = _take_best_free(passing, boxes.gt_ignore[gt_rows])
        gt_index[rows] = np.where(local >= 0, gt_rows[local], -1)
    return Matches(boxes.scores, gt_index, _is_ignored(boxes, gt_index), boxes.num_gt)


def ilsvrc_iou_bound(gt_boxes: Floats) -> Floats:
    """Overlap needed to find each ground truth, (G, 4) xyxy pixels -> (G,): min(0.5, wh / ((w + 10)(h + 10)))."""
    width, height = gt_boxes[:, 2] - gt_boxes[:, 0], gt_boxes[:, 3] - gt_boxes[:, 1]
    relative: Floats = width * height / ((width + 10) * (height + 10))
    return np.minimum(0.5, relative)


def precision_recall(matches: Matches) -> PrecisionRecall:
    """Draws the curve; ignored detections are left out. No detections give an empty curve."""
    counted = ~matches.ignored
    found = np.cumsum(matches.correct[counted])
    precision = found / np.arange(1, len(found) + 1)
    recall = found / max(matches.num_gt, 1)
    return PrecisionRecall(matches.scores[counted], precision, recall, matches.num_gt)


def average_precision_voc07(curve: PrecisionRecall) -> float | None:
    """Mean over recall 0, 0.1 .. 1 of the best precision at that recall or more (0 where it is never reached).

    None if the class has no ground truth. The eleven points are the fractions k/10 correctly rounded, so a recall of
    3 in 10 reaches the point 0.3; ``0.1 * 3`` would lie just above it.
    """
    if curve.num_gt == 0:
        return None
    points = np.arange(11) / 10
    return float(np.mean([curve.precision[curve.recall >= point].max(initial=0.0) for point in points]))


def average_precision_voc12(curve: PrecisionRecall) -> float | None:
    """Area under the curve made monotone, exact at the steps of recall (VOC 2010 on, ILSVRC).

    None if the class has no ground truth, 0 if it has no detections.
    """
    if curve.num_gt == 0:
        return None
    steps = np.diff(curve.recall, prepend=0.0)
    return float(np.sum(steps * precision_envelope(curve)))


def precision_envelope(curve: PrecisionRecall) -> Floats:
    """Best precision at this recall or more, (N,), never rising."""
    return np.maximum.accumulate(curve.precision[::-1])[::-1]


def _is_ignored(boxes: ClassBoxes, gt_index: Ints) -> Bools:
    """(D,) whether the ground truth of each detection is an ignored one; False for -1."""
    return np.append(boxes.gt_ignore, False)[gt_index]


def _take_best_free(passing: Floats, ignore: Bools) -> Ints:
    """Gives ground truths of one image away, best detection first.

    Args:
        passing: (d, g) overlap, 0 where it does not pass the ground truth's bound.
        ignore: (g,) ignored ground truths: never used up, and taken only if nothing else is free.

    Returns:
        (d,) column of the ground truth taken, -1 if none.
    """
    taken = np.full(len(passing), -1)
    free = ~ignore
    for row in np.flatnonzero(passing.max(axis=1) > 0):
        for candidates in (np.where(free, passing[row], 0.0), np.where(ignore, passing[row], 0.0)):
            best = int(candidates.argmax())
            if candidates[best] > 0:
                taken[row] = best
                free[best] = False
                break
    return taken

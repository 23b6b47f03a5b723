"""Which stage of the detector lost each missed object.

Two steps, each a pure function. ``examine`` looks at the trace of one image while it is there and keeps three numbers
an object, which do not depend on any threshold; ``blame_missed`` says, once the thresholds are known, what became of
the missed ones. So a detector passes over the images once, and memory holds no trace but the last.
Legend: G ground truths (of one image in ``examine``, else over all), P proposals, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detection.data.records import ImageRecord
from detection.evaluation.class_boxes import Bools, Floats, Ints, SplitBoxes, pairwise_iou
from detection.tracing import Trace

NO_PROPOSAL, SAID_BACKGROUND, WRONG_CLASS, POOR_BOX, BELOW_THRESHOLD, NMS, LIMIT, UNREAD = range(8)

BLAMES = {
    "no_proposal": "no proposal of its own covered it",
    "background": "the classifier said background",
    "wrong_class": "the classifier said another class",
    "poor_box": "right class, but the refined box fits badly or fits a neighbour",
    "below_threshold": "right class and box, score below the threshold",
    "nms": "lost its place or its score to a better detection (NMS)",
    "limit": "cut off: the image has as many detections as it may",
    "unread": "the image could not be read",
}
"""Where an object was lost, by number: the name of number n is the n-th. Two kinds are there because the others would
not be true: ``poor_box``, a covered and recognised object whose box is spoilt by the refinement, and ``limit``, which
is mended by another setting than NMS is."""

COVERING_IOU = 0.5
_IOU_ROUNDING = 1e-3  # NMS compared boxes in pixels of the network's input.


@dataclass(frozen=True)
class Examined:
    """What decides, at any threshold, which stage lost an object.

    A region could find an object if its box, refined for the object's class, overlaps it with IoU 0.5 or more, and
    overlaps no other object of the class more.

    Attributes:
        best_score: (G,) highest score of a region that could find the object; -1 if there is none.
        removed_by: (G,) number of the kind of blame if that score reaches the threshold: ``NMS`` or ``LIMIT``.
        otherwise: (G,) number of the kind if it does not.
    """

    best_score: Floats
    removed_by: Ints
    otherwise: Ints


@dataclass(frozen=True)
class StageBlame:
    """Which stage lost each missed object.

    Attributes:
        kinds: (G,) number of the kind in ``BLAMES``; -1 for an object that is not missed.
        counts: (C, kinds) missed objects of each class and kind; all together as many as are missed.
    """

    kinds: Ints
    counts: Ints

    def to_metrics(self, class_names: Sequence[str]) -> dict[str, dict[str, int] | dict[str, dict[str, int]]]:
        """The entry in ``metrics.json``."""
        names = list(BLAMES)
        rows = {
            name: dict(zip(names, row, strict=True))
            for name, row in zip(class_names, self.counts.tolist(), strict=True)
        }
        return {"all": dict(zip(names, self.counts.sum(axis=0).tolist(), strict=True)), "per_class": rows}


def examine(trace: Trace, record: ImageRecord) -> Examined:
    """Follows every object of one image through the stages.

    Args:
        trace: Of this image.
        record: Its objects, with labels of the detector.

    Returns:
        A row for each object of the record, ignored ones included.
    """
    num_objects = len(record.labels)
    examined = Examined(np.full(num_objects, -1.0), np.full(num_objects, NMS), np.full(num_objects, NO_PROPOSAL))
    covers = pairwise_iou(trace.proposals, record.boxes) >= COVERING_IOU  # (P, G)
    said = trace.probabilities.argmax(axis=1)  # (P,), C is background
    for label in np.unique(record.labels).tolist():
        rows = np.flatnonzero(record.labels == label)
        finds = _finds(trace.boxes[:, label], record.boxes[rows])
        for row, could in zip(rows.tolist(), finds.T, strict=True):
            examined.otherwise[row] = _judge_regions(could, covers[:, row], said, label, trace.boxes.shape[1])
            if could.any():
                region = int(np.where(could, trace.scores[:, label], -np.inf).argmax())
                examined.best_score[row] = trace.scores[region, label]
                examined.removed_by[row] = NMS if _is_suppressed(trace, region, label) else LIMIT
    return examined


def _finds(boxes: Floats, gt_boxes: npt.NDArray[np.floating]) -> Bools:
    """(P, g) whether a box refined for a class would find an object of it, by the rule of VOC matching."""
    iou = pairwise_iou(boxes, gt_boxes)
    nearest = iou.argmax(axis=1)[:, None] == np.arange(len(gt_boxes))[None, :]
    return nearest & (iou >= COVERING_IOU)


def _judge_regions(could: Bools, covers: Bools, said: Ints, label: int, background: int) -> int:
    """The kind of blame of an object that no region of enough score could find: where the best of them failed.

    Args:
        could: (P,) regions that could find it.
        covers: (P,) proposals that overlap it.
        said: (P,) most probable class of each region, C for background.
        label: Class of the object.
        background: C.
    """
    regions = could | covers
    tests = [
        (not regions.any(), NO_PROPOSAL),
        (bool((could & (said == label)).any()), BELOW_THRESHOLD),
        (bool((covers & (said == label)).any()), POOR_BOX),
        (bool((regions & (said != background)).any()), WRONG_CLASS),
    ]
    return next((kind for is_so, kind in tests if is_so), SAID_BACKGROUND)


def _is_suppressed(trace: Trace, region: int, label: int) -> bool:
    """Whether NMS took a region or its score: if not, the limit did.

    The limit takes the lowest scores. So where a worse detection of the class has stayed, it did not take this one;
    nor where a better one overlaps it too much.
    """
    same, better = trace.found_labels == label, trace.found_scores >= trace.scores[region, label]
    iou = pairwise_iou(trace.boxes[region, label][None], trace.found[same & better])
    is_covered = bool((iou > trace.overlap_lost - _IOU_ROUNDING).any())
    return not trace.is_full or is_covered or bool((same & ~better).any())


def blame_missed(
    split: SplitBoxes, missed: Bools, examined: Sequence[Examined | None], score_thresholds: Floats
) -> StageBlame:
    """Says which stage lost each missed object.

    Args:
        split: All boxes.
        missed: (G,) the missed objects.
        examined: One entry an image of the split; None for an image that could not be read.
        score_thresholds: (C,) at which they are missed.
    """
    counts = np.bincount(split.gt_image, minlength=split.num_images)
    unread = [
        Examined(np.full(count, -1.0), np.full(count, UNREAD), np.full(count, UNREAD)) if each is None else each
        for each, count in zip(examined, counts.tolist(), strict=True)
    ]
    best_score = np.concatenate([np.zeros(0), *(each.best_score for each in unread)])
    removed_by = np.concatenate([np.zeros(0, np.int64), *(each.removed_by for each in unread)])
    otherwise = np.concatenate([np.zeros(0, np.int64), *(each.otherwise for each in unread)])
    kinds = np.where(best_score >= score_thresholds[split.gt_labels], removed_by, otherwise)
    kinds[~missed] = -1
    table = np.zeros((split.num_classes, len(BLAMES)), np.int64)
    np.add.at(table, (split.gt_labels[missed], kinds[missed]), 1)
    return StageBlame(kinds, table)

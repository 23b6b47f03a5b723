"""How many objects the proposals cover.

Legend: I images, G ground truths and P proposals of one image. Boxes are xyxy pixels of the same image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from detection.evaluation.class_boxes import Ints, pairwise_iou

Boxes = npt.NDArray[np.floating]


def proposal_recall(
    gt_boxes: Sequence[Boxes],
    proposal_boxes: Sequence[Boxes],
    *,
    gt_ignore: Sequence[npt.NDArray[np.bool_]] | None = None,
    counts: Sequence[int] = (10, 50, 100, 200),
    iou_threshold: float = 0.5,
) -> dict[str, float | None]:
    """Share of the ground truths that one of the best K proposals of their image overlaps enough.

    One proposal may cover several ground truths: recall asks whether an object has a proposal at all.

    Args:
        gt_boxes: I arrays (G, 4).
        proposal_boxes: I arrays (P, 4), best score first. Fewer than K proposals count as all of them.
        gt_ignore: I arrays (G,), ground truths left out; None leaves none out.
        counts: The numbers K of proposals per image.
        iou_threshold: Overlap needed; equality suffices.

    Returns:
        ``recall@K`` -> share in [0, 1], or None if there is no ground truth at all.

    Raises:
        ValueError: If the sequences differ in length.
    """
    if gt_ignore is None:
        gt_ignore = [np.zeros(len(boxes), dtype=np.bool_) for boxes in gt_boxes]
    ranks = [np.zeros(0, dtype=np.int64)]
    for truth, ignore, proposals in zip(gt_boxes, gt_ignore, proposal_boxes, strict=True):
        ranks.append(_first_covering(truth[~ignore], proposals, iou_threshold))
    rank = np.concatenate(ranks)
    return {f"recall@{count}": float(np.mean(rank < count)) if len(rank) else None for count in counts}


def _first_covering(gt_boxes: Boxes, proposals: Boxes, iou_threshold: float) -> Ints:
    """(G,) rank from 0 of the first proposal that covers each ground truth; a rank beyond all counts if none does."""
    never = np.iinfo(np.int64).max
    if len(proposals) == 0:
        return np.full(len(gt_boxes), never)
    covers = pairwise_iou(proposals, gt_boxes) >= iou_threshold
    return np.where(covers.any(axis=0), covers.argmax(axis=0), never)

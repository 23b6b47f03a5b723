"""How many objects the proposals cover.

Legend: I images, G ground truths and P proposals of one image. Boxes are xyxy pixels of the same image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from detection.evaluation.class_boxes import pairwise_iou
from detection.evaluation.proposal_curves import best_of_first, recall_at

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
    best = [
        best_of_first(pairwise_iou(proposals, truth[~ignore]), counts)
        for truth, ignore, proposals in zip(gt_boxes, gt_ignore, proposal_boxes, strict=True)
    ]
    by_count = np.concatenate([np.zeros((0, len(counts))), *best]).T
    return {
        f"recall@{count}": recall_at(covered, (iou_threshold,))[0]
        for count, covered in zip(counts, by_count, strict=True)
    }

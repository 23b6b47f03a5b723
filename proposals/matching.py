"""Which prior answers for which object. Legend: K priors, G ground truths."""

from __future__ import annotations

import torch
from torch import Tensor

from proposals.box_ops import box_iou, generalized_box_iou, lie_within

BACKGROUND = -1
IGNORED = -2


def _serve_losers(closeness: Tensor, owner: Tensor) -> None:
    """Gives every object that lost all its priors to others the best one that its owner can spare, in place.

    Args:
        closeness: (G, K), greater is closer.
        owner: (K,) int64: object of each prior or ``BACKGROUND``.
    """
    counts = torch.bincount(owner[owner >= 0], minlength=len(closeness))
    for loser in (counts == 0).nonzero().squeeze(1).tolist():
        counts = torch.bincount(owner[owner >= 0], minlength=len(closeness))
        spare = (owner < 0) | (counts[owner] > 1)
        if spare.any():  # else there are more objects than priors
            owner[torch.where(spare, closeness[loser], -2.0).argmax()] = loser


def match_priors(
    priors: Tensor, gt_boxes: Tensor, gt_ignore: Tensor, *, positive_iou: float = 0.5, min_matches: int = 4
) -> Tensor:
    """Assigns each prior to at most one object.

    A prior is positive when its IoU with an object exceeds ``positive_iou``, or when it is among the ``min_matches``
    best of that object: no object stays without a prior, however odd its shape. Between several objects the one of
    greatest IoU wins. A negative prior of which more than half lies in an ignored region is neither.

    Deviation: MultiBox matches each object to one prior; counting all above some overlap as positive is SSD's
    (1512.02325, section 2.2).

    Args:
        priors: (K, 4) xyxy pixels.
        gt_boxes: (G, 4) xyxy pixels.
        gt_ignore: (G,) bool: crowd or difficult; never positive.
        positive_iou: Overlap above which a prior is positive.
        min_matches: Priors that every object gets at least (unless others overlap them more).

    Returns:
        (K,) int64: row of ``gt_boxes``, ``BACKGROUND`` (-1) or ``IGNORED`` (-2). Without objects every prior is
        background.
    """
    gt_index = torch.full((len(priors),), BACKGROUND, dtype=torch.int64, device=priors.device)
    objects = (~gt_ignore).nonzero().squeeze(1)
    if len(objects):
        iou = box_iou(gt_boxes[objects], priors)
        # Among priors that an object does not touch, the generalised IoU (negative there) prefers the near ones.
        closeness = torch.where(iou > 0, iou, generalized_box_iou(gt_boxes[objects], priors))
        candidate = iou > positive_iou
        candidate.scatter_(1, closeness.topk(min(min_matches, len(priors)), dim=1).indices, True)
        best, best_object = torch.where(candidate, closeness, -2.0).max(dim=0)
        owner = torch.where(best > -2, best_object, BACKGROUND)
        _serve_losers(closeness, owner)
        gt_index = torch.where(owner >= 0, objects[owner], gt_index)
    gt_index[lie_within(priors, gt_boxes[gt_ignore]) & (gt_index == BACKGROUND)] = IGNORED
    return gt_index

"""Which prior answers for which object. Legend: K priors, G ground truths."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proposals.box_ops import box_iou, coverage

BACKGROUND = -1
IGNORED = -2


class Matches(NamedTuple):
    """Assignment of priors to objects of one image.

    Attributes:
        gt_index: (K,) int64: index of the object, ``BACKGROUND`` (-1) or ``IGNORED`` (-2).
        iou: (K,) float32: overlap of the prior with that object, 0 where there is none.
    """

    gt_index: Tensor
    iou: Tensor


def _serve_losers(iou: Tensor, owner: Tensor, owner_iou: Tensor) -> None:
    """Gives every object that lost all its priors to others the best one that its owner can spare, in place.

    Args:
        iou: (G, K) overlaps.
        owner: (K,) int64: object of each prior or ``BACKGROUND``.
        owner_iou: (K,) overlap of the prior with its owner.
    """
    counts = torch.bincount(owner[owner >= 0], minlength=len(iou))
    for loser in (counts == 0).nonzero().squeeze(1).tolist():
        counts = torch.bincount(owner[owner >= 0], minlength=len(iou))
        spare = (owner < 0) | (counts[owner] > 1)
        if spare.any():  # else there are more objects than priors
            prior = torch.where(spare, iou[loser], -1.0).argmax()
            owner[prior], owner_iou[prior] = loser, iou[loser, prior]


def match_priors(
    priors: Tensor, gt_boxes: Tensor, gt_ignore: Tensor, *, positive_iou: float = 0.5, min_matches: int = 4
) -> Matches:
    """Assigns each prior to at most one object.

    A prior is positive when its IoU with an object exceeds ``positive_iou``, or when it is among the ``min_matches``
    best of that object: no object stays without a prior, however odd its shape. Between several objects the one of
    greatest IoU wins. A negative prior of which more than half lies in an ignored region is neither.

    Args:
        priors: (K, 4) xyxy pixels.
        gt_boxes: (G, 4) xyxy pixels.
        gt_ignore: (G,) bool: crowd or difficult; never positive.
        positive_iou: Overlap above which a prior is positive.
        min_matches: Priors that every object gets at least (unless others overlap them more).

    Returns:
        Matches with indices into ``gt_boxes``. Without objects every prior is background.
    """
    gt_index = torch.full((len(priors),), BACKGROUND, dtype=torch.int64, device=priors.device)
    best_iou = priors.new_zeros(len(priors))
    objects = (~gt_ignore).nonzero().squeeze(1)
    if len(objects):
        iou = box_iou(gt_boxes[objects], priors)
        candidate = iou > positive_iou
        best_priors = iou.topk(min(min_matches, len(priors)), dim=1).indices
        candidate.scatter_(1, best_priors, True)
        best_iou, best_object = torch.where(candidate, iou, -1.0).max(dim=0)
        owner = torch.where(best_iou >= 0, best_object, BACKGROUND)
        best_iou = best_iou.clamp(min=0)
        _serve_losers(iou, owner, best_iou)
        gt_index = torch.where(owner >= 0, objects[owner], gt_index)
    if len(objects) < len(gt_boxes):
        inside = coverage(priors, gt_boxes[gt_ignore]).amax(dim=1) > 0.5
        gt_index[inside & (gt_index == BACKGROUND)] = IGNORED
    return Matches(gt_index, best_iou)

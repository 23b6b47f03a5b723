"""One prior for each object: the exact assignment of Erhan et al. (1312.2249). Legend: K priors, G ground truths.

``*_norm`` boxes are xyxy in units of the image, see ``global_coder``.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from proposals.box_ops import lie_within
from proposals.global_coder import encode_corners
from proposals.matching import BACKGROUND, IGNORED

_ABSURD_COST = 1e12
"""In place of a cost that is not finite: a network that diverged is reported by its loss, not by the solver."""


def matching_cost(boxes_norm: Tensor, logits: Tensor, gt_boxes_norm: Tensor, *, alpha: float) -> Tensor:
    """What each pair adds to F = alpha * F_loc + F_conf when it is matched, (K, G).

    C_ij = alpha / 2 * ||l_i - g_j||^2 - log c_i + log(1 - c_i), distances in units of ``CORNER_SPREAD``. The last two
    terms are the negative logit of c_i, which is finite where a logarithm of c_i would not be.

    Args:
        boxes_norm: (K, 4) boxes l.
        logits: (K,) log odds of the confidences c.
        gt_boxes_norm: (G, 4) objects g.
        alpha: Weight of the distance.
    """
    distance = encode_corners(gt_boxes_norm[None], boxes_norm[:, None]).square().sum(dim=2)
    return alpha / 2 * distance - logits[:, None]


def solve_assignment(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs rows and columns of (K, G) at the least total cost: min(K, G) pairs, no row and no column in two of them.

    Returns:
        Rows and columns of the pairs, int64 on the CPU, where the solver runs.
    """
    finite = cost.detach().cpu().nan_to_num(nan=_ABSURD_COST, posinf=_ABSURD_COST, neginf=-_ABSURD_COST)
    rows, columns = linear_sum_assignment(finite.numpy())
    return torch.from_numpy(rows), torch.from_numpy(columns)


@torch.no_grad()
def match_bipartite(
    boxes_norm: Tensor,
    logits: Tensor,
    gt_boxes_norm: Tensor,
    gt_ignore: Tensor,
    *,
    alpha: float,
    priors_norm: Tensor | None = None,
) -> Tensor:
    """Assigns each object to a prior of its own: x* = argmin F(x), x_ij in {0, 1}, sum_i x_ij = 1, sum_j x_ij <= 1.

    Objects compete for what the network predicts now. With ``priors_norm`` they are matched to the nearest priors
    instead, whatever the network predicts (the paper's prior matching): steadier, and each output keeps to its region.
    A negative whose predicted box lies in an ignored region by more than half is neither.

    Args:
        boxes_norm: (K, 4) predicted boxes.
        logits: (K,) log odds of their confidences.
        gt_boxes_norm: (G, 4).
        gt_ignore: (G,) bool: crowd or difficult; never matched.
        alpha: Weight of the distance in F, that of the loss.
        priors_norm: (K, 4); None matches predictions.

    Returns:
        (K,) int64: row of ``gt_boxes_norm``, ``BACKGROUND`` (-1) or ``IGNORED`` (-2). Where there are more objects
        than priors, every prior has an object and the costliest objects have none. No gradient.
    """
    device = boxes_norm.device
    gt_index = torch.full((len(boxes_norm),), BACKGROUND, dtype=torch.int64, device=device)
    objects = (~gt_ignore).nonzero().squeeze(1)
    # Double precision parts near ties as the exact problem does; not every accelerator has it.
    boxes, odds, gt_boxes = boxes_norm.cpu().double(), logits.cpu().double(), gt_boxes_norm[objects].cpu().double()
    if priors_norm is not None:
        boxes, odds = priors_norm.cpu().double(), torch.zeros_like(odds)
    rows, columns = solve_assignment(matching_cost(boxes, odds, gt_boxes, alpha=alpha))
    gt_index[rows.to(device)] = objects[columns.to(device)]
    gt_index[lie_within(boxes_norm, gt_boxes_norm[gt_ignore]) & (gt_index == BACKGROUND)] = IGNORED
    return gt_index

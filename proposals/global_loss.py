"""The objective of the first MultiBox (Erhan et al., 1312.2249). Legend: B images, K priors, G ground truths.

``*_norm`` boxes are xyxy in units of the image, see ``global_coder``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from proposals.global_coder import encode_corners
from proposals.matching import IGNORED
from proposals.multibox_loss import MultiBoxLosses
from proposals.normalizer import normalizer
from proposals.structures import MultiBoxOutput

ALPHA = 0.3
"""Weight of the localization loss in the paper."""


def global_multibox_loss(
    output: MultiBoxOutput,
    priors_norm: Tensor,
    gt_boxes_norm: Sequence[Tensor],
    matches: Sequence[Tensor],
    *,
    alpha: float = ALPHA,
) -> MultiBoxLosses:
    """F = alpha * F_loc + F_conf for a given assignment x, predicted boxes l, objects g and confidences c.

    alpha * F_loc = alpha / 2 * sum_ij x_ij * ||l_i - g_j||^2, F_conf = - sum_ij x_ij * log c_i
    - sum_i (1 - sum_j x_ij) * log(1 - c_i); priors that are ignored have no part in either.
    Deviation: distances are in units of ``CORNER_SPREAD``, not of the image; why is said there.

    Args:
        output: Logits (B, K) and offsets (B, K, 4).
        priors_norm: (K, 4).
        gt_boxes_norm: B tensors (G, 4).
        matches: B tensors (K,) from ``match_bipartite``.
        alpha: That of the matching.

    Returns:
        alpha * F_loc and F_conf, summed over the batch and divided by its matched objects (at least 1), as the loss of
        the convolutional form. Without objects the first is exactly 0 and the second that of the negatives.
        Differentiable.
    """
    gt_index = torch.stack(list(matches))
    positive = gt_index >= 0
    num_positive = normalizer(positive.sum())
    matched = torch.cat([boxes[index[index >= 0]] for boxes, index in zip(gt_boxes_norm, gt_index, strict=True)])
    residuals = encode_corners(matched, priors_norm.expand(len(gt_index), -1, -1)[positive])
    localization = alpha / 2 * (output.offsets[positive] - residuals).square().sum()
    cross_entropy = binary_cross_entropy_with_logits(output.logits, positive.to(output.logits.dtype), reduction="none")
    confidence = cross_entropy[gt_index != IGNORED].sum()
    return MultiBoxLosses(localization / num_positive, confidence / num_positive)

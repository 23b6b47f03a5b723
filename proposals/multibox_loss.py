"""The MultiBox objective: which priors hold an object, and where it is. Legend: B images, K priors, G ground truths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from proposals.box_coder import decode
from proposals.box_ops import paired_giou, paired_iou
from proposals.matching import IGNORED
from proposals.normalizer import normalizer
from proposals.structures import MultiBoxOutput


class MultiBoxLosses(NamedTuple):
    """Localization and confidence, the two parts of F = alpha * F_loc + F_conf (1312.2249). Scalars."""

    localization: Tensor
    confidence: Tensor


def multibox_loss(
    output: MultiBoxOutput, priors: Tensor, gt_boxes: Sequence[Tensor], matches: Sequence[Tensor]
) -> MultiBoxLosses:
    """Quality focal loss for objectness and generalised IoU for boxes, per positive prior.

    Deviation: the paper trains confidences towards 1 and corners by squared error. Here the confidence of a positive
    prior is trained towards the IoU that its decoded box reaches, weighted by the distance that is left (quality focal
    loss, 2006.04388, eq. 2), so that ranking by confidence ranks by fit, and the many easy negatives fade out by
    themselves instead of being mined.

    Args:
        output: Logits (B, K) and offsets (B, K, 4).
        priors: (K, 4) xyxy pixels.
        gt_boxes: B tensors (G, 4) xyxy pixels.
        matches: B tensors (K,) from ``match_priors``.

    Returns:
        Both losses, each divided by the number of positive priors in the batch (at least 1). Without objects the
        localization loss is exactly 0 and the confidence loss is that of the negatives. Differentiable.
    """
    gt_index = torch.stack(list(matches))
    positive = gt_index >= 0
    num_positive = normalizer(positive.sum())
    matched = torch.cat([boxes[index[index >= 0]] for boxes, index in zip(gt_boxes, gt_index, strict=True)])
    boxes = decode(output.offsets[positive], priors.expand(len(gt_index), -1, -1)[positive])
    quality = torch.zeros_like(output.logits)
    quality[positive] = paired_iou(boxes.detach(), matched)
    distance = (quality - output.logits.sigmoid()).abs()
    cross_entropy = binary_cross_entropy_with_logits(output.logits, quality, reduction="none")
    confidence = (distance.square() * cross_entropy)[gt_index != IGNORED].sum() / num_positive
    localization = (1 - paired_giou(boxes, matched)).sum() / num_positive
    return MultiBoxLosses(localization, confidence)

"""From the answers of the MultiBox head to a short list of proposals. Legend: B images, K priors, P proposals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

from proposals.box_coder import decode
from proposals.box_ops import clip, is_valid
from proposals.structures import MultiBoxOutput, Proposals


@torch.no_grad()
def generate_proposals(
    output: MultiBoxOutput,
    priors: Tensor,
    image_sizes_hw: Sequence[tuple[int, int]],
    *,
    num_proposals: int,
    num_candidates: int,
    nms_iou_threshold: float,
) -> list[Proposals]:
    """Decodes the most confident priors of each image, drops near duplicates and keeps the best.

    Every image is treated alone, so the answer does not depend on the batch. No gradient.

    Args:
        output: Logits (B, K) and offsets (B, K, 4).
        priors: (K, 4) xyxy pixels of the network's input.
        image_sizes_hw: B sizes; boxes are clipped to them, padding holds no objects.
        num_proposals: P at most.
        num_candidates: Priors decoded before suppression.
        nms_iou_threshold: Overlap above which the less confident of two boxes goes.

    Returns:
        B ``Proposals``, possibly empty.
    """
    num_candidates = min(num_candidates, len(priors))
    logits, order = output.logits.topk(num_candidates, dim=1)
    offsets = output.offsets.gather(1, order[..., None].expand(-1, -1, 4))
    boxes_per_image = decode(offsets, priors[order])
    proposals = []
    for boxes, scores, image_size_hw in zip(boxes_per_image, logits.sigmoid(), image_sizes_hw, strict=True):
        boxes = clip(boxes, image_size_hw)
        large = is_valid(boxes, min_size=1.0)
        boxes, scores = boxes[large], scores[large]
        keep = nms(boxes, scores, nms_iou_threshold)[:num_proposals]
        proposals.append(Proposals(boxes[keep], scores[keep], image_size_hw))
    return proposals

"""From the answers of MultiBox to a short list of proposals. Legend: B images, K priors, N candidates, P proposals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms

from proposals.box_ops import clip, is_valid
from proposals.multibox import InputSizes, MultiBox
from proposals.structures import MultiBoxOutput, Proposals


@dataclass(frozen=True)
class ProposalSettings:
    """How many proposals leave the stage.

    Attributes:
        num_proposals: P at most.
        num_candidates: N, priors decoded before suppression.
        nms_iou_threshold: Overlap above which the less confident of two boxes goes.
    """

    num_proposals: int
    num_candidates: int
    nms_iou_threshold: float


@torch.no_grad()
def generate_proposals(
    multibox: MultiBox, output: MultiBoxOutput, sizes: InputSizes, settings: ProposalSettings
) -> list[Proposals]:
    """Decodes the most confident priors of each image, drops near duplicates and keeps the best.

    Every image is treated alone, so the answer does not depend on the batch. No gradient.

    Args:
        multibox: What gave the answers.
        output: Logits (B, K) and offsets (B, K, 4).
        sizes: Of the B images; boxes are clipped to them, padding holds no objects.
        settings: How many.

    Returns:
        B ``Proposals`` in pixels of the network's input, possibly empty.
    """
    num_candidates = min(settings.num_candidates, output.logits.shape[1])
    logits, rows = output.logits.topk(num_candidates, dim=1)
    boxes = multibox.decode(output.offsets.gather(1, rows[..., None].expand(-1, -1, 4)), rows, sizes)
    images = zip(boxes, logits.sigmoid(), sizes.images_hw, strict=True)
    return [_keep_best(*image, settings) for image in images]


def _keep_best(boxes: Tensor, scores: Tensor, image_size_hw: tuple[int, int], settings: ProposalSettings) -> Proposals:
    """Clips (N, 4) boxes, drops what is left with a side of one pixel or less, and what repeats a better one."""
    boxes = clip(boxes, image_size_hw)
    large = is_valid(boxes, min_size=1.0)
    boxes, scores = boxes[large], scores[large]
    keep = nms(boxes, scores, settings.nms_iou_threshold)[: settings.num_proposals]
    return Proposals(boxes[keep], scores[keep], image_size_hw)

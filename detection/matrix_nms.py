"""Matrix NMS (SOLOv2, 2003.10152, section 3.4): what repeats a better detection loses score instead of being removed.

Boxes of middling overlap are often both right, or the weaker fits better; hard suppression loses these. All pairs at
once, so it is as fast and goes into an exported graph. Legend: N candidates of one image, best first.
"""

from __future__ import annotations

import torch
from torch import Tensor

CANDIDATES = 300
"""Best detections of an image that are looked at, at least; three times as many as are kept, if that is more."""


def num_candidates(max_detections: int) -> int:
    """How many of the best detections of an image are looked at when ``max_detections`` may be kept."""
    return max(CANDIDATES, 3 * max_detections)


def decay_scores(boxes: Tensor, scores: Tensor, labels: Tensor, sigma: float) -> Tensor:
    """Lowers the score of each detection by its overlap with better ones of its class.

    A detection j falls to the least, over better ones i, of ``exp(-iou(i, j)^2 / sigma) / exp(-c_i^2 / sigma)``, where
    ``c_i`` is the largest overlap of i itself with a better one: one likely to be suppressed suppresses less (eq. 4).

    Args:
        boxes: (..., N, 4) xyxy, best first.
        scores: (..., N), falling.
        labels: (..., N).
        sigma: How much overlap is forgiven.

    Returns:
        (..., N) scores, none higher than before. N = 0 gives none.
    """
    if not boxes.shape[-2]:
        return scores
    better = torch.ones(boxes.shape[-2], boxes.shape[-2], device=boxes.device).triu(diagonal=1)  # row above column
    same = (labels[..., :, None] == labels[..., None, :]).to(boxes.dtype)
    overlap = _pairwise_iou(boxes) * same * better
    worst = overlap.amax(dim=-2)
    decay = torch.exp((worst[..., :, None].square() - overlap.square()) / sigma)
    factor = torch.where(overlap > 0, decay, torch.ones_like(decay)).amin(dim=-2)
    return scores * factor.clamp(max=1)


def _pairwise_iou(boxes: Tensor) -> Tensor:
    """(..., N, 4) -> (..., N, N); 0 between boxes without area."""
    left, top, right, bottom = boxes.unbind(dim=-1)
    area = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    # One axis at a time: N x N numbers side by side in memory, not pairs of them.
    inside = _shared(left, right) * _shared(top, bottom)
    return inside / (area[..., :, None] + area[..., None, :] - inside).clamp(min=1e-9)


def _shared(starts: Tensor, ends: Tensor) -> Tensor:
    """The length that each two of (..., N) spans have in common, (..., N, N)."""
    first = torch.maximum(starts[..., :, None], starts[..., None, :])
    last = torch.minimum(ends[..., :, None], ends[..., None, :])
    return (last - first).clamp(min=0)

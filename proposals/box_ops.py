"""Arithmetic of boxes: float32 xyxy, pixel edges, half-open, width = x2 - x1, no +1 anywhere.

Intersection over union and non-maximum suppression are torchvision's. Legend: N boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_area, box_iou, generalized_box_iou

__all__ = [
    "box_area",
    "box_iou",
    "clip",
    "coverage",
    "enlarge",
    "generalized_box_iou",
    "is_valid",
    "lie_within",
    "paired_giou",
    "paired_iou",
]

_EPS = 1e-7


def clip(boxes: Tensor, image_size_hw: tuple[int, int] | Tensor) -> Tensor:
    """Moves box edges (..., 4) into the image [0, W] x [0, H]; a box outside becomes empty. Differentiable.

    Args:
        boxes: (..., 4).
        image_size_hw: H and W; as a tensor (2,) where an exporter must be able to follow them.
    """
    if isinstance(image_size_hw, Tensor):
        limits = image_size_hw.flip(0).repeat(2).to(boxes.dtype)
    else:
        height, width = image_size_hw
        limits = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limits)


def is_valid(boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """(N, 4) -> (N,) bool: width and height both exceed ``min_size`` pixels and nothing is NaN."""
    return ((boxes[:, 2:] - boxes[:, :2]) > min_size).all(dim=1)


def enlarge(boxes: Tensor, factor: float) -> Tensor:
    """Scales boxes (..., 4) about their centres; they may leave the image."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]) * (factor / 2)
    return torch.cat([centre - half, centre + half], dim=-1)


def coverage(boxes: Tensor, regions: Tensor) -> Tensor:
    """Share of each box that lies in each region (intersection over the box's own area).

    Args:
        boxes: (N, 4).
        regions: (R, 4).

    Returns:
        (N, R) in [0, 1]; an empty box has coverage 0.
    """
    top_left = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    return intersection / box_area(boxes).clamp(min=_EPS)[:, None]


def lie_within(boxes: Tensor, regions: Tensor) -> Tensor:
    """Which boxes have more than half of their area in a region: (N, 4), (R, 4) -> (N,) bool; none where R = 0."""
    if not len(regions):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return coverage(boxes, regions).amax(dim=1) > 0.5


def _paired_iou_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    size = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    intersection = size.clamp(min=0).prod(dim=-1)
    area_a, area_b = (a[..., 2:] - a[..., :2]).prod(dim=-1), (b[..., 2:] - b[..., :2]).prod(dim=-1)
    union = area_a + area_b - intersection
    return intersection / union.clamp(min=_EPS), union


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of row i of ``a`` with row i of ``b``: (..., 4), (..., 4) -> (...)."""
    return _paired_iou_and_union(a, b)[0]


def paired_giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of paired rows (Rezatofighi et al. 2019, 1902.09630): (..., 4), (..., 4) -> (...) in (-1, 1].

    Differentiable, with a gradient also where the boxes do not touch.
    """
    iou, union = _paired_iou_and_union(a, b)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(dim=-1)
    return iou - (hull - union) / hull.clamp(min=_EPS)

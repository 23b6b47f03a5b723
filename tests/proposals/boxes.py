"""Boxes for the tests of the proposal stage."""

from __future__ import annotations

import torch
from torch import Tensor


def random_boxes(
    num_boxes: int, image_size_hw: tuple[int, int] = (60, 80), *, seed: int = 0, min_size: float = 2.0
) -> Tensor:
    """(N, 4) float32 xyxy boxes inside the image, of at least ``min_size`` pixels a side."""
    generator = torch.Generator().manual_seed(seed)
    height, width = image_size_hw
    limits = torch.tensor([width, height], dtype=torch.float32)
    size = min_size + torch.rand(num_boxes, 2, generator=generator) * (limits - min_size)
    top_left = torch.rand(num_boxes, 2, generator=generator) * (limits - size)
    return torch.cat([top_left, torch.minimum(top_left + size, limits)], dim=1)


def as_boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    """(N, 4) float32, also for no rows."""
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)

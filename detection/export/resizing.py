"""Scaling of images as tensor operations whose sizes depend on the input: what OpenCV does, for a graph.

Legend: B images, H/W their size, h/w the size to scale to.
"""

from __future__ import annotations

import torch
from torch import Tensor


def area_weights(length: int, scaled: int) -> Tensor:
    """How much each of ``length`` pixels of a row gives to each of ``scaled`` ones that average over what they cover.

    Returns:
        (scaled, length) float32, rows sum to 1.
    """
    step = torch.tensor(length, dtype=torch.float32) / torch.tensor(scaled, dtype=torch.float32)
    starts = torch.arange(scaled, dtype=torch.float32)[:, None] * step
    pixels = torch.arange(length, dtype=torch.float32)[None, :]
    covered = torch.minimum(pixels + 1, starts + step) - torch.maximum(pixels, starts)
    return covered.clamp(min=0) / step


@torch.jit.script_if_tracing  # type: ignore[untyped-decorator]
def scale_pixels(pixels: Tensor, size_hw: Tensor) -> Tensor:
    """Scales (B, 3, H, W) float32 pixels as ``detection.preprocess.resize_exactly``, to a (2,) int64 height and width.

    Bilinear, or averaging where the image shrinks by more than half.
    """
    height, width = int(size_hw[0]), int(size_hw[1])
    if 2 * height < pixels.shape[2]:
        rows = area_weights(pixels.shape[2], height)
        columns = area_weights(pixels.shape[3], width)
        return torch.matmul(torch.matmul(rows, pixels), columns.transpose(0, 1))
    return torch.nn.functional.interpolate(pixels, size=[height, width], mode="bilinear", align_corners=False)

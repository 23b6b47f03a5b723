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


def linear_taps(length: int, scaled: int) -> tuple[Tensor, Tensor, Tensor]:
    """Between which two of ``length`` pixels of a row each of ``scaled`` ones lies, whose centres are spread evenly.

    Returns:
        Index of the pixel before it and of the one behind, (scaled,) int64, and the share of the latter, (scaled,)
        float32 in [0, 1).
    """
    step = torch.tensor(length, dtype=torch.float32) / torch.tensor(scaled, dtype=torch.float32)
    centres = ((torch.arange(scaled, dtype=torch.float32) + 0.5) * step - 0.5).clamp(min=0)
    before = centres.floor()
    behind = (before + 1).clamp(max=length - 1)
    return before.to(torch.int64), behind.to(torch.int64), centres - before


@torch.jit.script_if_tracing  # type: ignore[untyped-decorator]
def scale_pixels(pixels: Tensor, size_hw: Tensor) -> Tensor:
    """Scales (B, 3, H, W) uint8 pixels as ``detection.preprocess.resize_exactly``, to a (2,) int64 height and width.

    Bilinear, or averaging where the image shrinks by more than half. Pixels are chosen as bytes and weighed as floats:
    OpenVINO's own operator has to be given floats of the whole image, which takes longer (docs/decisions.md, 57).

    Returns:
        (B, 3, h, w) float32.
    """
    height, width = int(size_hw[0]), int(size_hw[1])
    if 2 * height < pixels.shape[2]:
        rows = area_weights(pixels.shape[2], height)
        columns = area_weights(pixels.shape[3], width)
        return torch.matmul(torch.matmul(rows, pixels.float()), columns.transpose(0, 1))
    above, below, down = linear_taps(pixels.shape[2], height)
    left, right, across = linear_taps(pixels.shape[3], width)
    down = down[:, None]
    scaled = pixels.index_select(2, above).float() * (1 - down) + pixels.index_select(2, below).float() * down
    return scaled.index_select(3, left) * (1 - across) + scaled.index_select(3, right) * across

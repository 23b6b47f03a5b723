"""From the bytes of an image to what the backbone sees, as tensor operations whose sizes depend on the input.

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


def average_pixels(pixels: Tensor, height: int, width: int) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, h, w) float32, each the mean of what it covers."""
    rows = area_weights(pixels.shape[2], height)
    columns = area_weights(pixels.shape[3], width)
    return torch.matmul(torch.matmul(rows, pixels.float()), columns.transpose(0, 1))


def interpolate_pixels(pixels: Tensor, height: int, width: int) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, h, w) float32, bilinear.

    Pixels are chosen as bytes and weighed as floats: OpenVINO's own operator has to be given floats of the whole image,
    which takes longer (docs/decisions.md, 57).
    """
    above, below, down = linear_taps(pixels.shape[2], height)
    left, right, across = linear_taps(pixels.shape[3], width)
    down = down[:, None]
    scaled = pixels.index_select(2, above).float() * (1 - down) + pixels.index_select(2, below).float() * down
    return scaled.index_select(3, left) * (1 - across) + scaled.index_select(3, right) * across


def normalize_and_pad(scaled: Tensor, multiple: int, mean: Tensor, spread: Tensor, padding: Tensor) -> Tensor:
    """As ``ColourNormalization`` behind ``detection.preprocess.stack_images``; arguments as for ``prepare_pixels``."""
    # Zero is what an exporter can pad with.
    sides = [0, -scaled.shape[3] % multiple, 0, -scaled.shape[2] % multiple]
    return torch.nn.functional.pad((scaled - padding) / spread, sides) + (padding - mean) / spread


@torch.jit.script_if_tracing  # type: ignore[untyped-decorator]
def prepare_pixels(
    pixels: Tensor, size_hw: Tensor, multiple: int, mean: Tensor, spread: Tensor, padding: Tensor
) -> Tensor:
    """From bytes to what the backbone sees, as ``detection.preprocess`` and ``ColourNormalization`` make it.

    Bilinear, or averaging where the image shrinks by more than half. All of it is done in either branch, since OpenVINO
    keeps branches in float32 where it computes layers in bfloat16 (docs/decisions.md, 58).

    Args:
        pixels: (B, 3, H, W) uint8.
        size_hw: (2,) int64, height h and width w to scale to.
        multiple: Of which height and width shall be.
        mean: (3, 1, 1), taken away.
        spread: (3, 1, 1), divided by.
        padding: (3, 1, 1), the colour beside and below the image.

    Returns:
        (B, 3, h', w') float32.
    """
    height, width = int(size_hw[0]), int(size_hw[1])
    if 2 * height < pixels.shape[2]:
        return normalize_and_pad(average_pixels(pixels, height, width), multiple, mean, spread, padding)
    return normalize_and_pad(interpolate_pixels(pixels, height, width), multiple, mean, spread, padding)

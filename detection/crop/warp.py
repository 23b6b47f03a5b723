"""Regions cut out of a batch of images and warped to squares, as R-CNN does (Girshick et al., 1311.2524, appendix A).

A region is stretched to the square whatever its shape, with a border of its surroundings that is as wide in every
crop. Legend: B images, R regions, S side of a crop, H/W padded size of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from detection.preprocess import PAD_COLOUR
from proposals.box_ops import enlarge


class CropShape(NamedTuple):
    """Side S of a crop, and how many of its pixels the surroundings take on each of its four sides; 2 context < S."""

    side: int
    context: int


def warp_regions(
    images: Tensor, image_sizes_hw: Sequence[tuple[int, int]], boxes: Tensor, rows: Tensor, *, shape: CropShape
) -> Tensor:
    """Cuts regions out of a batch of images, bilinearly and without smoothing, as R-CNN does.

    The region fills the crop but for ``context`` pixels on each side, so the crop shows S / (S - 2 context) times the
    region. What lies outside the image, padding included, has the mean colour, which normalisation makes 0.

    Args:
        images: (B, 3, H, W) RGB from 0 to 255, uint8 or float32, padded.
        image_sizes_hw: B sizes of the images inside their padding.
        boxes: (R, 4) float32 xyxy pixels of the input, with area.
        rows: (R,) int64 in [0, B), which image each region lies in; in any order.
        shape: Side S and context.

    Returns:
        (R, 3, S, S) float32 in [0, 255]; no regions give no crops. No gradient to the boxes is meant.
    """
    side, context = shape
    shown = enlarge(boxes, side / (side - 2 * context))
    crops = torch.empty((len(boxes), 3, side, side), device=images.device)
    for row, (height, width) in enumerate(image_sizes_hw):
        chosen = rows == row
        if chosen.any():
            crops[chosen] = _sample(images[row, :, :height, :width].float(), shown[chosen], side)
    return crops


def _sample(image: Tensor, boxes: Tensor, side: int) -> Tensor:
    """The image (3, H, W) at S x S even points of each box (R, 4) -> (R, 3, S, S)."""
    height, width = image.shape[1:]
    shares = (torch.arange(side, device=boxes.device) + 0.5) / side  # centres of the crop's pixels
    xs, ys = (boxes[:, i, None] + shares * (boxes[:, i + 2] - boxes[:, i])[:, None] for i in (0, 1))  # (R, S) each
    # To grid_sample -1 and 1 are the outer edges of the image: our pixel edges, scaled.
    grid = torch.stack(torch.broadcast_tensors(xs[:, None] * (2 / width) - 1, ys[..., None] * (2 / height) - 1), dim=-1)
    same = image.expand(len(boxes), -1, -1, -1)  # one image for all regions, not copied
    crops = grid_sample(same, grid, mode="bilinear", padding_mode="border", align_corners=False)
    is_inside = ((xs >= 0) & (xs <= width))[:, None] & ((ys >= 0) & (ys <= height))[..., None]  # (R, S, S)
    colour = torch.tensor(PAD_COLOUR, dtype=crops.dtype, device=crops.device).view(3, 1, 1)
    return torch.where(is_inside[:, None], crops, colour)

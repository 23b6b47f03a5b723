"""RoIAlign (Mask R-CNN, 1703.06870, section 3) as two matrix products, over the levels of a pyramid.

Averaged bilinear sampling on a regular grid is separable: a region's pooled grid is ``Wy @ features @ Wx^T``, where
each row of ``Wy`` (``Wx``) holds the weights that one bin gives to the rows (columns) of the map. Matrix products use
all cores and bfloat16 units and are deterministic; torchvision's kernel, whose values these are, runs on one core in
float32 (measured in docs/decisions.md). Legend: L levels, F channels, R RoIs, S bins per side, H/W size of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SAMPLES_PER_BIN = 2
"""Sampling points of a bin along each axis."""

CELLS_PER_ROI = 28.0
"""An RoI goes to the level where it spans up to this many cells. FPN (1612.03144, eq. 1) has 14, 224 px at stride 16;
what tells classes apart is often small, and a finer map knows what the coarser ones saw (docs/decisions.md, 22)."""


def assign_levels(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Pyramid level of each RoI by its size, (R, 4) -> (R,) int64 in [0, L)."""
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    thresholds = torch.tensor([stride * CELLS_PER_ROI for stride in strides[:-1]], device=boxes.device)
    return (size[:, None] > thresholds).sum(dim=1)


def bin_weights(starts: Tensor, lengths: Tensor, *, bins: int, num_cells: int) -> Tensor:
    """What each cell of one axis gives to each bin of each RoI.

    Args:
        starts: (R,) where the RoI starts, in cells; cell i's centre is at i.
        lengths: (R,) how long it is, in cells.
        bins: S.
        num_cells: Cells of the axis.

    Returns:
        (R, S, num_cells) float32. Samples more than a cell outside the map count as 0, as in torchvision.
    """
    num_samples = bins * SAMPLES_PER_BIN
    steps = (torch.arange(num_samples, device=starts.device) + 0.5) / num_samples
    positions = starts[:, None] + steps * lengths[:, None]  # (R, samples)
    inside = ((positions >= -1) & (positions <= num_cells)).to(starts.dtype)
    positions = positions.clamp(0, num_cells - 1)
    below = positions.floor().clamp(max=max(num_cells - 2, 0))
    share_above = (positions - below) * inside
    below = below.to(torch.int64)
    weights = starts.new_zeros(len(starts), num_samples, num_cells)
    weights.scatter_add_(2, below[..., None], (inside - share_above)[..., None])
    weights.scatter_add_(2, (below + 1).clamp(max=num_cells - 1)[..., None], share_above[..., None])
    return weights.unflatten(1, (bins, SAMPLES_PER_BIN)).mean(dim=2)


def pool_map(features: Tensor, boxes: Tensor, *, stride: int, pool_size: int) -> Tensor:
    """Pools the RoIs of one image from one map: (F, H, W), (R, 4) xyxy pixels -> (R, S, S, F). Differentiable."""
    num_channels, height, width = features.shape
    cells = boxes / stride - 0.5
    starts, lengths = cells[:, :2], cells[:, 2:] - cells[:, :2]
    weights_x = bin_weights(starts[:, 0], lengths[:, 0], bins=pool_size, num_cells=width)
    weights_y = bin_weights(starts[:, 1], lengths[:, 1], bins=pool_size, num_cells=height)
    by_row = features.permute(1, 2, 0).reshape(height, -1)  # (H, W F), no copy when channels are last in memory
    strips = (weights_y.flatten(0, 1).to(by_row.dtype) @ by_row).view(-1, pool_size, width, num_channels)
    return weights_x[:, None].to(strips.dtype) @ strips


def pool_rois(
    pyramid: Sequence[Tensor], boxes_per_image: Sequence[Tensor], *, strides: Sequence[int], pool_size: int
) -> Tensor:
    """Pools every RoI from the level that fits it.

    Args:
        pyramid: L maps (B, F, H, W), channels last in memory.
        boxes_per_image: B tensors (Ri, 4) float32 xyxy, pixels of the input; they may leave the image.
        strides: L strides.
        pool_size: S.

    Returns:
        (R, F, S, S), channels last in memory, in the order of the boxes. No RoIs give (0, F, S, S). Differentiable in
        the maps, not in the boxes.
    """
    pooled, order = [pyramid[0].new_zeros(0, pool_size, pool_size, pyramid[0].shape[1])], []
    offset = 0
    for image, boxes in enumerate(boxes_per_image):
        levels = assign_levels(boxes, strides)
        for level, (features, stride) in enumerate(zip(pyramid, strides, strict=True)):
            rows = (levels == level).nonzero().squeeze(1)
            if len(rows):
                pooled.append(pool_map(features[image], boxes[rows], stride=stride, pool_size=pool_size))
                order.append(rows + offset)
        offset += len(boxes)
    values = torch.cat(pooled)
    if order:
        values = values[torch.cat(order).argsort()]
    return values.permute(0, 3, 1, 2)

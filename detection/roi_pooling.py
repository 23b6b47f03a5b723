"""RoIAlign (Mask R-CNN, 1703.06870, section 3) over the levels of a pyramid.

Averaged bilinear sampling on a regular grid is separable: along each axis a bin reads a few cells. Training multiplies
by them as matrices, ``Wy @ features @ Wx^T``, where each row of ``Wy`` (``Wx``) holds the weights that one bin gives to
the rows (columns) of the map: matrix products use all cores and bfloat16 units and are deterministic on every device.
Detection on a CPU sums up the cells that a bin reads, whose number does not grow with the map. torchvision's kernel,
whose values these are, runs on one core in float32 (measured in docs/decisions.md, 3 and 40).
Legend: L levels, F channels, R RoIs, S bins per side, H/W size of a map, N cells that a bin reads along one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

SAMPLES_PER_BIN = 2
"""Sampling points of a bin along each axis."""

CELLS_PER_ROI = 28.0
"""An RoI goes to the level where it spans up to this many cells: the rule of FPN (1612.03144, eq. 1 with k0 = 4), by
which one below 224 pixels belongs to stride 8 (docs/decisions.md, 22)."""


def assign_levels(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Pyramid level of each RoI by its size, (R, 4) -> (R,) int64 in [0, L)."""
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    thresholds = torch.tensor([stride * CELLS_PER_ROI for stride in strides[:-1]], device=boxes.device)
    return (size[:, None] > thresholds).sum(dim=1)


class AxisBins(NamedTuple):
    """What the bins of each RoI read along one axis.

    Attributes:
        cells: (R, S, N) int64.
        shares: (R, S, N) float32, what each cell gives to the mean of the bin.
        num_cells: Cells of the axis.
    """

    cells: Tensor
    shares: Tensor
    num_cells: int

    def as_matrix(self) -> Tensor:
        """What every cell of the axis gives to each bin, (R, S, num_cells) float32."""
        empty = self.shares.new_zeros(*self.shares.shape[:2], self.num_cells)
        return empty.scatter_add_(2, self.cells, self.shares)


def sample_axis(starts: Tensor, lengths: Tensor, *, bins: int, num_cells: int) -> AxisBins:
    """Lays the sampling points of one axis.

    Args:
        starts: (R,) where the RoI starts, in cells; cell i's centre is at i.
        lengths: (R,) how long it is, in cells.
        bins: S.
        num_cells: Cells of the axis.

    Returns:
        The two cells beside each sampling point of each bin. Points more than a cell outside the map count as 0, as in
        torchvision.
    """
    num_samples = bins * SAMPLES_PER_BIN
    steps = (torch.arange(num_samples, device=starts.device) + 0.5) / num_samples
    positions = starts[:, None] + steps * lengths[:, None]  # (R, samples)
    inside = ((positions >= -1) & (positions <= num_cells)).to(starts.dtype)
    positions = positions.clamp(0, num_cells - 1)
    below = positions.floor().clamp(max=max(num_cells - 2, 0))
    share_above = (positions - below) * inside
    cells = torch.stack([below, (below + 1).clamp(max=num_cells - 1)], dim=-1).to(torch.int64)
    shares = torch.stack([inside - share_above, share_above], dim=-1) / SAMPLES_PER_BIN
    return AxisBins(cells.reshape(len(starts), bins, -1), shares.reshape(len(starts), bins, -1), num_cells)


def pool_map(features: Tensor, boxes: Tensor, *, stride: int, pool_size: int) -> Tensor:
    """Pools the RoIs of one image from one map: (F, H, W), (R, 4) xyxy pixels -> (R, S, S, F). Differentiable."""
    _, height, width = features.shape
    cells = boxes / stride - 0.5
    starts, lengths = cells[:, :2], cells[:, 2:] - cells[:, :2]
    x = sample_axis(starts[:, 0], lengths[:, 0], bins=pool_size, num_cells=width)
    y = sample_axis(starts[:, 1], lengths[:, 1], bins=pool_size, num_cells=height)
    by_place = features.permute(1, 2, 0)  # (H, W, F), no copy below when channels are last in memory
    return _sum_cells(by_place, x, y) if features.is_cpu and not features.requires_grad else _multiply(by_place, x, y)


def _multiply(features: Tensor, x: AxisBins, y: AxisBins) -> Tensor:
    """The bins as matrix products: (H, W, F) -> (R, S, S, F)."""
    height, width, num_channels = features.shape
    bins = x.cells.shape[1]
    strips = y.as_matrix().flatten(0, 1).to(features.dtype) @ features.reshape(height, -1)  # (R S, W F)
    return x.as_matrix()[:, None].to(features.dtype) @ strips.view(-1, bins, width, num_channels)


def _sum_cells(features: Tensor, x: AxisBins, y: AxisBins) -> Tensor:
    """The bins as weighted sums of the N x N cells that each reads: (H, W, F) -> (R, S, S, F)."""
    bins, reads = x.cells.shape[1:]
    cells = y.cells[:, :, None, :, None] * x.num_cells + x.cells[:, None, :, None, :]  # (R, S, S, N, N)
    shares = y.shares[:, :, None, :, None] * x.shares[:, None, :, None, :]
    pooled = embedding_bag(
        cells.reshape(-1, reads * reads),
        features.reshape(-1, features.shape[-1]),
        per_sample_weights=shares.reshape(-1, reads * reads).to(features.dtype),
        mode="sum",
    )
    return pooled.view(-1, bins, bins, features.shape[-1])


def pool_rois(
    pyramid: Sequence[Tensor],
    boxes_per_image: Sequence[Tensor],
    *,
    strides: Sequence[int],
    pool_size: int,
    filled_to: int = 1,
) -> Tensor:
    """Pools every RoI from the level that fits it.

    Args:
        pyramid: L maps (B, F, H, W), channels last in memory.
        boxes_per_image: B tensors (Ri, 4) float32 xyxy, pixels of the input; they may leave the image.
        strides: L strides.
        pool_size: S.
        filled_to: RoIs of zeros follow until their number is a multiple of this.

    Returns:
        (R, F, S, S), channels last in memory, in the order of the boxes. No RoIs give (0, F, S, S). Differentiable in
        the maps, not in the boxes.
    """
    num_rois = sum(len(boxes) for boxes in boxes_per_image)
    filler = -num_rois % filled_to
    pooled = [pyramid[0].new_zeros(filler, pool_size, pool_size, pyramid[0].shape[1])]
    order = [torch.arange(num_rois, num_rois + filler, device=pyramid[0].device)]
    offset = 0
    for image, boxes in enumerate(boxes_per_image):
        levels = assign_levels(boxes, strides)
        for level, (features, stride) in enumerate(zip(pyramid, strides, strict=True)):
            rows = (levels == level).nonzero().squeeze(1)
            if len(rows):
                pooled.append(pool_map(features[image], boxes[rows], stride=stride, pool_size=pool_size))
                order.append(rows + offset)
        offset += len(boxes)
    return torch.cat(pooled)[torch.cat(order).argsort()].permute(0, 3, 1, 2)

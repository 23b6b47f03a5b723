"""RoIAlign (Mask R-CNN, 1703.06870, section 3) over the levels of a pyramid.

Averaged bilinear sampling on a regular grid is separable: along each axis a bin reads a few cells. Training multiplies
by them as matrices, ``Wy @ features @ Wx^T``, where each row of ``Wy`` (``Wx``) holds the weights that one bin gives to
the rows (columns) of the map: matrix products use all cores and bfloat16 units and are deterministic on every device.
Detection on a CPU sums up the cells that a bin reads, whose number does not grow with the map. A GPU, which waits for
the next small operation rather than for a large one to end, sums up those of all images and levels at once (measured in
docs/decisions.md, 3, 40 and 61). torchvision's kernel, whose values these are, runs on one core of a CPU, in float32,
and adds up its gradient on a GPU in no fixed order.
Legend: B images, L levels, F channels, R RoIs, S bins per side, H/W size of a map, N cells that a bin reads along one
axis.
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
    """

    cells: Tensor
    shares: Tensor

    def as_matrix(self, num_cells: int) -> Tensor:
        """What every cell of the axis gives to each bin, (R, S, num_cells) float32."""
        empty = self.shares.new_zeros(*self.shares.shape[:2], num_cells)
        return empty.scatter_add_(2, self.cells, self.shares)


def sample_axis(starts: Tensor, lengths: Tensor, *, bins: int, num_cells: int | Tensor) -> AxisBins:
    """Lays the sampling points of one axis.

    Args:
        starts: (R,) where the RoI starts, in cells; cell i's centre is at i.
        lengths: (R,) how long it is, in cells.
        bins: S.
        num_cells: Cells of the axis, for all or (R, 1).

    Returns:
        The two cells beside each sampling point of each bin. Points more than a cell outside the map count as 0, as in
        torchvision.
    """
    num_samples = bins * SAMPLES_PER_BIN
    steps = (torch.arange(num_samples, device=starts.device) + 0.5) / num_samples
    positions = starts[:, None] + steps * lengths[:, None]  # (R, samples)
    inside = ((positions >= -1) & (positions <= num_cells)).to(starts.dtype)
    positions = positions.clamp(min=0).clamp(max=num_cells - 1)
    below = positions.floor().clamp(max=num_cells - 2).clamp(min=0)
    share_above = (positions - below) * inside
    cells = torch.stack([below, (below + 1).clamp(max=num_cells - 1)], dim=-1).to(torch.int64)
    shares = torch.stack([inside - share_above, share_above], dim=-1) / SAMPLES_PER_BIN
    return AxisBins(cells.reshape(len(starts), bins, -1), shares.reshape(len(starts), bins, -1))


def _sample_boxes(
    cells: Tensor, size_hw: tuple[int, int] | tuple[Tensor, Tensor], *, bins: int
) -> tuple[AxisBins, AxisBins]:
    """Both axes of boxes (R, 4) in cells, x first; the size of their maps as ``sample_axis`` takes it."""
    starts, lengths = cells[:, :2], cells[:, 2:] - cells[:, :2]
    height, width = size_hw
    x = sample_axis(starts[:, 0], lengths[:, 0], bins=bins, num_cells=width)
    y = sample_axis(starts[:, 1], lengths[:, 1], bins=bins, num_cells=height)
    return x, y


def pool_map(features: Tensor, boxes: Tensor, *, stride: int, pool_size: int) -> Tensor:
    """Pools the RoIs of one image from one map: (F, H, W), (R, 4) xyxy pixels -> (R, S, S, F). Differentiable."""
    _, height, width = features.shape
    x, y = _sample_boxes(boxes / stride - 0.5, (height, width), bins=pool_size)
    by_place = features.permute(1, 2, 0)  # (H, W, F), no copy below when channels are last in memory
    if features.is_cpu and not features.requires_grad:
        return _sum_cells(by_place.flatten(0, 1), x, y._replace(cells=y.cells * width))
    return _multiply(by_place, x, y)


def _multiply(features: Tensor, x: AxisBins, y: AxisBins) -> Tensor:
    """The bins as matrix products: (H, W, F) -> (R, S, S, F)."""
    height, width, num_channels = features.shape
    bins = x.cells.shape[1]
    strips = y.as_matrix(height).flatten(0, 1).to(features.dtype) @ features.reshape(height, -1)  # (R S, W F)
    return x.as_matrix(width)[:, None].to(features.dtype) @ strips.view(-1, bins, width, num_channels)


def _sum_cells(table: Tensor, x: AxisBins, y: AxisBins) -> Tensor:
    """The bins as weighted sums of the N x N cells that each reads.

    Args:
        table: (cells, F).
        x: Of the columns.
        y: Of the rows, whose cells are told by where in the table their row of the map begins.

    Returns:
        (R, S, S, F).
    """
    bins, reads = x.cells.shape[1:]
    cells = y.cells[:, :, None, :, None] + x.cells[:, None, :, None, :]  # (R, S, S, N, N)
    shares = y.shares[:, :, None, :, None] * x.shares[:, None, :, None, :]
    pooled = embedding_bag(
        cells.reshape(-1, reads * reads),
        table,
        per_sample_weights=shares.reshape(-1, reads * reads).to(table.dtype),
        mode="sum",
    )
    return pooled.view(-1, bins, bins, table.shape[-1])


def pool_at_once(
    pyramid: Sequence[Tensor], boxes_per_image: Sequence[Tensor], *, strides: Sequence[int], pool_size: int
) -> Tensor:
    """What ``pool_rois`` gives, unfilled and as (R, S, S, F), by the same few operations for all; R is not 0."""
    boxes = torch.cat(list(boxes_per_image))
    levels = assign_levels(boxes, strides)
    table = torch.cat([features.permute(0, 2, 3, 1).flatten(0, 2) for features in pyramid])  # every cell of the batch
    sizes = torch.tensor([features.shape[-2:] for features in pyramid])
    cells_before = torch.cat([sizes.new_zeros(1), (len(pyramid[0]) * sizes.prod(dim=1)).cumsum(dim=0)[:-1]])
    shapes = torch.cat([sizes, torch.tensor(strides)[:, None], cells_before[:, None]], dim=1).to(boxes.device)
    height, width, stride, first = shapes[levels].split(1, dim=1)  # (R, 1) each
    counts = torch.tensor([len(each) for each in boxes_per_image])
    image = torch.arange(len(counts)).repeat_interleave(counts).to(boxes.device)[:, None]
    x, y = _sample_boxes(boxes / stride - 0.5, (height, width), bins=pool_size)
    begin = (first + image * height * width)[..., None]
    return _sum_cells(table, x, y._replace(cells=begin + y.cells * width[..., None]))


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
    empty = pyramid[0].new_zeros(filler, pool_size, pool_size, pyramid[0].shape[1])
    if pyramid[0].is_cuda and num_rois:
        at_once = pool_at_once(pyramid, boxes_per_image, strides=strides, pool_size=pool_size)
        return torch.cat([at_once, empty]).permute(0, 3, 1, 2)
    pooled, order = [empty], [torch.arange(num_rois, num_rois + filler, device=pyramid[0].device)]
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

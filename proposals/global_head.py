"""The first form of MultiBox (Erhan et al., 1312.2249): one look at the whole image, K boxes with confidences.

Legend: B images, C channels, h/w size of the feature map, K priors, S bins per side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backbone.inception import ConvUnit
from proposals.structures import MultiBoxOutput

_GRID = 4
_REDUCED_CHANNELS = 128
_START_CONFIDENCE = 0.01  # Few priors hold an object; the many others do not swamp the loss at the start.


def bin_shares(lengths: Tensor, *, num_bins: int, num_cells: int) -> Tensor:
    """Which share of each of S equal bins lies in which cell, along one axis.

    Args:
        lengths: (B,) what the bins divide, in cells from the first cell's edge; at most ``num_cells``.
        num_bins: S.
        num_cells: Cells of the axis.

    Returns:
        (B, S, num_cells) float32; the shares of a bin add to 1.
    """
    edges = torch.arange(num_bins + 1, device=lengths.device) / num_bins * lengths[:, None]
    starts, ends = edges[:, :-1, None], edges[:, 1:, None]
    cells = torch.arange(num_cells, dtype=lengths.dtype, device=lengths.device)
    overlap = (torch.minimum(ends, cells + 1) - torch.maximum(starts, cells)).clamp(min=0)
    return overlap / (ends - starts)


def pool_images(features: Tensor, image_sizes_hw: Sequence[tuple[int, int]], *, stride: int, num_bins: int) -> Tensor:
    """Averages each image, without its padding, over S x S equal bins: (B, C, h, w) -> (B, C, S, S).

    A cell that two bins share counts by its parts, so a place in the grid is always the same part of the image. Equals
    adaptive average pooling where the image fills the map and S divides it. Differentiable.

    Args:
        features: Maps of the padded input.
        image_sizes_hw: B sizes of the images inside it, in pixels.
        stride: Pixels per cell.
        num_bins: S.
    """
    sizes = torch.tensor(list(image_sizes_hw), dtype=torch.float32, device=features.device) / stride
    rows = bin_shares(sizes[:, 0], num_bins=num_bins, num_cells=features.shape[2])[:, None].to(features.dtype)
    columns = bin_shares(sizes[:, 1], num_bins=num_bins, num_cells=features.shape[3])[:, None].to(features.dtype)
    return rows @ features @ columns.transpose(2, 3)


class GlobalMultiBoxHead(nn.Module):
    """1x1 reduction, a 4x4 look at the image, two fully connected layers: an auxiliary classifier that tells places.

    Sixteen places, because a mean over all would tell what there is but not where.

    Args:
        channels: C.
        stride: Pixels of the input per cell of the features.
        num_priors: K.
        hidden: Width of the hidden layer.
        dropout: Share of hidden units dropped in training.
    """

    def __init__(self, channels: int, *, stride: int, num_priors: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        self.num_priors = num_priors
        self.reduction = ConvUnit(channels, _REDUCED_CHANNELS, 1)
        self.fc1 = nn.Linear(_REDUCED_CHANNELS * _GRID * _GRID, hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, num_priors * 5)
        self._initialize()

    def _initialize(self) -> None:
        """At the start every prior answers with itself, nearly, and a confidence of 1 %."""
        nn.init.kaiming_normal_(self.reduction.conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.kaiming_normal_(self.fc1.weight, nonlinearity="relu")
        nn.init.zeros_(self.fc1.bias)
        nn.init.normal_(self.fc2.weight, std=0.01)
        nn.init.zeros_(self.fc2.bias)
        nn.init.constant_(self.fc2.bias[: self.num_priors], -math.log(1 / _START_CONFIDENCE - 1))

    def forward(self, features: Tensor, image_sizes_hw: Sequence[tuple[int, int]]) -> MultiBoxOutput:
        """Judges and moves every prior; one image alone and in a batch gets the same answer.

        Args:
            features: (B, C, h, w) of the padded input, whose sides are multiples of the stride.
            image_sizes_hw: B sizes of the images inside the padding, in pixels.

        Returns:
            Logits (B, K) and corner offsets (B, K, 4) for ``decode_corners``, float32.
        """
        grid = pool_images(self.reduction(features), image_sizes_hw, stride=self.stride, num_bins=_GRID)
        hidden = self.dropout(torch.relu(self.fc1(grid.flatten(1))))
        answer = self.fc2(hidden).float()  # (B, 5 K)
        offsets = answer[:, self.num_priors :].reshape(len(answer), self.num_priors, 4)
        return MultiBoxOutput(answer[:, : self.num_priors], offsets)

"""Convolutional MultiBox (Szegedy et al., 1412.1441): objectness and offsets for every prior of every cell.

Legend: B images, L pyramid levels, F channels, A priors per cell, K priors in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from backbone.inception import ConvUnit
from proposals.structures import MultiBoxOutput

_PRIOR_OBJECTNESS = 0.01  # At the start every prior answers "1 % object": the many negatives do not swamp the loss.


class SharedConv(nn.Module):
    """3x3 convolution that all levels share, with a normalisation of each level's own, then rectification.

    Objects look alike at every level, so the kernel is shared; statistics differ, so the normalisation is not.
    """

    def __init__(self, channels: int, num_levels: int) -> None:
        super().__init__()
        self.conv: nn.Conv2d | None = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(num_levels))

    def forward(self, x: Tensor, level: int) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        norm = self.norms[level]
        return norm(x) if self.conv is None else torch.relu_(norm(self.conv(x)))

    def fold(self) -> None:
        """Merges each level's normalisation with a copy of the shared convolution, in place: a unit for each level."""
        if self.conv is not None:
            norms = [norm for norm in self.norms if isinstance(norm, nn.BatchNorm2d)]
            self.norms = nn.ModuleList(_folded_unit(self.conv, norm) for norm in norms)
            self.conv = None


def _folded_unit(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> ConvUnit:
    """Convolution, normalisation and rectification as one unit, which ``backbone.fused`` knows how to speed up."""
    unit = ConvUnit(conv.in_channels, conv.out_channels, 3, batch_norm=False)
    unit.conv = fuse_conv_bn_eval(conv, norm)
    return unit.train(norm.training)


def _projection(channels: int, priors_per_cell: int) -> nn.Conv2d:
    """1x1 convolution to A logits and 4 A offsets, in this order."""
    projection = nn.Conv2d(channels, priors_per_cell * 5, 1)
    nn.init.normal_(projection.weight, std=0.01)
    assert projection.bias is not None
    nn.init.zeros_(projection.bias)
    nn.init.constant_(projection.bias[:priors_per_cell], -math.log(1 / _PRIOR_OBJECTNESS - 1))
    return projection


class MultiBoxHead(nn.Module):
    """A tower of shared convolutions, then one 1x1 convolution per answer.

    Args:
        channels: F of the pyramid.
        num_levels: L.
        priors_per_cell: A.
        depth: Convolutions in the tower.
    """

    def __init__(self, channels: int, *, num_levels: int, priors_per_cell: int, depth: int) -> None:
        super().__init__()
        self.tower = nn.ModuleList(SharedConv(channels, num_levels) for _ in range(depth))
        self.projections = nn.ModuleList(_projection(channels, priors_per_cell) for _ in range(num_levels))
        self.priors_per_cell = priors_per_cell

    def forward(self, pyramid: Sequence[Tensor]) -> MultiBoxOutput:
        """L maps (B, F, Hl, Wl) -> logits (B, K) and offsets (B, K, 4) in float32, in the order of ``lay_priors``."""
        logits, offsets = [], []
        for level, features in enumerate(pyramid):
            for block in self.tower:
                features = block(features, level)
            answer = self.projections[level](features).float().permute(0, 2, 3, 1)  # (B, Hl, Wl, 5 A)
            logits.append(answer[..., : self.priors_per_cell].flatten(1))
            offsets.append(answer[..., self.priors_per_cell :].reshape(answer.shape[0], -1, 4))
        return MultiBoxOutput(torch.cat(logits, dim=1), torch.cat(offsets, dim=1))

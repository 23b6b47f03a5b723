"""Learnt weights at the size of fresh ones, so that all layers go on learning at like rates.

Behind a convolution batch normalisation undoes the size of its weights, so the size says nothing; but a step of a given
length turns small weights further than large ones (van Laarhoven, 1706.05350, section 2). Pretraining leaves layers at
sizes a factor of twelve apart.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from backbone.inception import ConvUnit


@torch.no_grad()
def rescale_like_fresh(network: nn.Module) -> None:
    """Brings every normalised convolution to the norm of He initialisation by outputs, the square root of 2 Cin.

    Statistics follow, so the outputs in evaluation mode stay the same. Convolutions without normalisation, and those
    whose weights are all zero, stay as they are.

    Args:
        network: Changed in place.
    """
    for unit in network.modules():
        if not isinstance(unit, ConvUnit) or not isinstance(unit.bn, nn.BatchNorm2d):
            continue
        norm = float(unit.conv.weight.norm())
        if norm > 0:
            factor = math.sqrt(2 * unit.conv.in_channels) / norm
            unit.conv.weight.mul_(factor)
            unit.bn.get_buffer("running_mean").mul_(factor)
            variance, eps = unit.bn.get_buffer("running_var"), unit.bn.eps
            variance.add_(eps).mul_(factor**2).sub_(eps)  # may fall below 0, and the sum with eps never does

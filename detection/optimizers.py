"""Optimizers over the groups that training distinguishes: what decays and what does not, and how fast a part learns."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from detection.muon import Muon

MUON_MOMENTUM = 0.95
"""The authors' value."""

_OUTER_CONVOLUTIONS = ("conv1.conv.weight", *(f"projections.{level}.weight" for level in range(8)))
"""Names of convolutions that read the image or answer."""


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and normalisation do not."""
    decaying: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (free if parameter.ndim <= 1 or name.endswith("bias") else decaying).append(parameter)
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def make_adamw(network: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with decoupled decay; fused, a step takes a quarter of the time on a CPU (docs/decisions.md, 61)."""
    return torch.optim.AdamW(_groups(network, weight_decay), lr=learning_rate, fused=True)


def make_sgd(network: nn.Module, *, learning_rate: float, weight_decay: float, momentum: float) -> torch.optim.SGD:
    """Gradient descent with momentum, the paper's optimizer (1409.4842, section 6: momentum 0.9)."""
    return torch.optim.SGD(_groups(network, weight_decay), lr=learning_rate, momentum=momentum)


def make_muon(
    network: nn.Module, *, muon_learning_rate: float, learning_rate: float, weight_decay: float, precision: torch.dtype
) -> Muon:
    """Muon for the convolutions inside; AdamW, without decay, for everything else.

    Everything else means the first convolution, the last layers, biases and normalisation: layers that do not map
    features to features, or few numbers. The authors leave these to Adam. Deviation: hidden linear layers go there too.

    Args:
        network: What to train.
        muon_learning_rate: Peak rate of Muon.
        learning_rate: Peak rate of AdamW.
        weight_decay: Of the convolutions inside.
        precision: Of the orthogonalisation.
    """
    inner: list[nn.Parameter] = []
    outer: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (inner if parameter.ndim == 4 and not name.endswith(_OUTER_CONVOLUTIONS) else outer).append(parameter)
    groups = [
        {"params": inner, "lr": muon_learning_rate, "weight_decay": weight_decay, "orthogonal": True},
        {"params": outer, "lr": learning_rate, "weight_decay": 0.0, "orthogonal": False},
    ]
    return Muon(groups, momentum=MUON_MOMENTUM, dtype=precision)


def make_optimizer(
    kind: Literal["adamw", "muon"],
    network: nn.Module,
    *,
    learning_rate: float,
    muon_learning_rate: float,
    weight_decay: float,
    precision: torch.dtype,
) -> torch.optim.Optimizer:
    """AdamW, or Muon with AdamW beside it; AdamW alone takes no notice of Muon's rate and precision."""
    if kind == "adamw":
        return make_adamw(network, learning_rate=learning_rate, weight_decay=weight_decay)
    return make_muon(
        network,
        muon_learning_rate=muon_learning_rate,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        precision=precision,
    )


def scale_learning_rate(optimizer: torch.optim.Optimizer, part: nn.Module, factor: float) -> None:
    """Gives the parameters of a part of the network their own rate, ``factor`` times that of the others, in place.

    Call it before the first step. The parameters move into groups of their own, behind the others; a factor of 1 leaves
    the groups as they are.

    Args:
        optimizer: Of the whole network.
        part: For example its backbone.
        factor: 0 keeps its parameters as they are.
    """
    if factor == 1:
        return
    inside = {id(parameter) for parameter in part.parameters()}
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in inside]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in inside]
        optimizer.add_param_group({**group, "params": moved, "lr": group["lr"] * factor})

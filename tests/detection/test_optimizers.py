"""Which parameters learn how fast, and which decay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from detection.network import DetectionNetwork
from detection.optimizers import make_adamw, make_optimizer, scale_learning_rate
from tests.detection.tiny import tiny_network

Make = Callable[[DetectionNetwork], torch.optim.Optimizer]


@pytest.fixture(params=["adamw", "muon"])
def make(request: pytest.FixtureRequest) -> Make:
    def build(network: DetectionNetwork) -> torch.optim.Optimizer:
        return make_optimizer(
            request.param,
            network,
            learning_rate=1e-3,
            muon_learning_rate=0.02,
            weight_decay=0.05,
            precision=torch.float32,
        )

    return build


def settings_of(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """Parameter -> its group's values; every parameter stands once."""
    groups = [({k: v for k, v in g.items() if k != "params"}, p) for g in optimizer.param_groups for p in g["params"]]
    assert len({id(parameter) for _, parameter in groups}) == len(groups)
    return {id(parameter): values for values, parameter in groups}


def test_the_backbone_alone_has_another_rate(make: Make) -> None:
    network = tiny_network()
    before, optimizer = settings_of(make(network)), make(network)
    scale_learning_rate(optimizer, network.backbone, 0.1)
    after = settings_of(optimizer)
    assert len(after) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        expected = dict(before[id(parameter)])
        expected["lr"] *= 0.1 if name.startswith("backbone.") else 1
        assert after[id(parameter)] == expected, name
    # The rate that is told of a step is the first group's: not the backbone's.
    assert not {id(p) for p in network.backbone.parameters()} & {id(p) for p in optimizer.param_groups[0]["params"]}


def test_a_factor_of_1_changes_no_group(make: Make) -> None:
    """The order of parameters in the groups is that of saved states."""
    network = tiny_network()
    one, other = make(network), make(network)
    scale_learning_rate(other, network.backbone, 1.0)
    ids = [[[id(p) for p in group["params"]] for group in optimizer.param_groups] for optimizer in (one, other)]
    assert ids[0] == ids[1]


def test_a_factor_of_0_keeps_the_backbone(make: Make) -> None:
    network = tiny_network()
    optimizer = make(network)
    scale_learning_rate(optimizer, network.backbone, 0.0)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("backbone."), name


def test_a_fused_step_is_that_of_adamw_whatever_the_memory_layout() -> None:
    ours = torch.nn.Sequential(torch.nn.Conv2d(4, 6, 3), torch.nn.Conv2d(6, 3, 3)).to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    optimizers = (make_adamw(ours, learning_rate=0.01, weight_decay=0.1), plain_adamw(theirs))
    images = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=torch.channels_last
    )
    for _ in range(4):
        for network, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def plain_adamw(network: torch.nn.Module) -> torch.optim.AdamW:
    """Operation by operation; weights decay, biases do not."""
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.01, foreach=False, fused=False)

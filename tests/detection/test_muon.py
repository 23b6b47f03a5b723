"""Muon against the singular value decomposition, and its AdamW against torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from backbone import GoogLeNet
from detection.muon import Muon, orthogonalize
from detection.optimizers import make_muon


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (12, 12)])
def test_orthogonalize_keeps_directions_and_evens_out_sizes(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.logspace(0, -1, shape[1])
    )
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalize(matrix, torch.float32)
    sizes = torch.linalg.svdvals(result)
    assert 0.6 < sizes.min() <= sizes.max() < 1.3
    core = left.T @ result @ right.T  # in the directions of the matrix: nothing beside the diagonal
    torch.testing.assert_close(core - torch.diag(core.diagonal()), torch.zeros_like(core), rtol=0, atol=1e-3)
    assert core.diagonal().min() > 0


def test_orthogonalize_leaves_zeros() -> None:
    assert not orthogonalize(torch.zeros(3, 5), torch.float32).any()


def test_a_step_by_hand() -> None:
    """First step: the average is 0.1 of the gradient; looking ahead changes its size only, which does not matter."""
    conv = nn.Conv2d(2, 4, 3, bias=False)
    before = conv.weight.detach().clone()
    optimizer = Muon(
        [{"params": [conv.weight], "lr": 0.5, "weight_decay": 0.1, "orthogonal": True}],
        momentum=0.9,
        dtype=torch.float32,
    )
    gradient = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    conv.weight.grad = gradient.clone()
    optimizer.step()
    update = orthogonalize(gradient.flatten(1), torch.float32).reshape(4, 2, 3, 3)  # 4 <= 18: no scale
    torch.testing.assert_close(conv.weight.detach(), before * (1 - 0.05) - 0.5 * update, rtol=1e-4, atol=1e-5)


def test_the_rest_is_adamw() -> None:
    ours = nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    group = {"params": list(ours.parameters()), "lr": 0.01, "weight_decay": 0.2, "orthogonal": False}
    optimizer = Muon([group], momentum=0.9, dtype=torch.float32)
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        inputs = torch.randn(4, 5, generator=generator)
        for network, stepper in ((ours, optimizer), (theirs, reference)):
            stepper.zero_grad()
            network(inputs).square().sum().backward()
            stepper.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_which_parameters_are_orthogonal() -> None:
    network = GoogLeNet(3)
    optimizer = make_muon(
        network, muon_learning_rate=0.02, learning_rate=0.002, weight_decay=0.05, precision=torch.float32
    )
    inner, outer = optimizer.param_groups
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    inner_names = {names[id(parameter)] for parameter in inner["params"]}
    assert len(inner["params"]) + len(outer["params"]) == len(names)
    assert {"conv2.conv.weight", "inception5b.branch4.1.conv.weight"} <= inner_names
    assert not {"conv1.conv.weight", "fc.weight", "conv2.bn.weight"} & inner_names
    assert (inner["orthogonal"], outer["orthogonal"], outer["lr"], outer["weight_decay"]) == (True, False, 0.002, 0.0)

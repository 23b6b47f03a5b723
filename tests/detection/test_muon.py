"""Muon against the singular value decomposition, and its AdamW against torch's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from backbone import GoogLeNet
from detection.muon import COEFFICIENTS, Muon, orthogonalize
from detection.optimizers import make_muon


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (12, 12)])
def test_orthogonalize_keeps_directions_and_evens_out_sizes(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    rank = min(shape)
    left = torch.linalg.qr(torch.randn(shape[0], rank, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(shape[1], rank, generator=generator)).Q
    matrix = left @ torch.diag(torch.logspace(0, -1.5, rank)) @ right.T  # the least is 0.02 of the Frobenius norm
    result = orthogonalize(5 * matrix, torch.float32)
    core = left.T @ result @ right  # in the directions of the matrix: nothing beside the diagonal
    torch.testing.assert_close(core - torch.diag(core.diagonal()), torch.zeros_like(core), rtol=0, atol=1e-3)
    assert 0.9 < core.diagonal().min() <= core.diagonal().max() < 1.1
    torch.testing.assert_close(left @ core @ right.T, result, rtol=0, atol=1e-3)


def test_each_step_is_the_minimax_polynomial_of_what_is_left() -> None:
    """By linear programming over a grid: least greatest distance from 1 of a x + b x^3 + c x^5."""
    low, high = 0.02, 1.0
    for coefficients in COEFFICIENTS:
        x = np.geomspace(low, high, 2000)
        powers = np.stack([x, x**3, x**5], axis=1)
        error = -np.ones((len(x), 1))
        best = linprog(
            [0, 0, 0, 1],
            A_ub=np.block([[powers, error], [-powers, error]]),
            b_ub=np.concatenate([np.ones(len(x)), -np.ones(len(x))]),
            bounds=[(None, None)] * 4,
        )
        np.testing.assert_allclose(coefficients, best.x[:3], rtol=1e-3)
        low, high = 1 - best.x[3], 1 + best.x[3]
    assert high < 1.1


def test_bfloat16_is_enough() -> None:
    matrix = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -2, 300)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalize(matrix, torch.bfloat16)
    assert torch.cosine_similarity(result.flatten(), (left @ right).flatten(), dim=0) > 0.99
    assert torch.linalg.matrix_norm(result, 2) < 1.2


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


def test_the_second_step_looks_ahead_along_the_average() -> None:
    """After gradients g, h the average is 0.9 * 0.1 g + 0.1 h; ahead of h by nine tenths of the way to it."""
    conv = nn.Conv2d(1, 36, 3, bias=False)  # a matrix of 36 x 9: its update counts twice, the root of 36 / 9
    group = {"params": [conv.weight], "lr": 0.5, "weight_decay": 0.0, "orthogonal": True}
    optimizer = Muon([group], momentum=0.9, dtype=torch.float32)
    first, second = torch.randn(2, 36, 1, 3, 3, generator=torch.Generator().manual_seed(2))
    conv.weight.grad = first.clone()
    optimizer.step()
    before = conv.weight.detach().clone()
    conv.weight.grad = second.clone()
    optimizer.step()
    ahead = 0.1 * second + 0.9 * (0.09 * first + 0.1 * second)
    update = orthogonalize(ahead.flatten(1), torch.float32).reshape(36, 1, 3, 3)
    torch.testing.assert_close(conv.weight.detach(), before - 2 * 0.5 * update, rtol=1e-4, atol=1e-5)


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

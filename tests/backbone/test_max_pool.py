"""Pooling by shifted maxima against torch's own kernel."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from backbone.googlenet import GoogLeNet
from backbone.max_pool import MaxPool
from backbone.variant import Block, Norm, Variant

KINDS = [(3, 1), (3, 2), (2, 2)]


def torchs(kernel: int, stride: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel, stride=stride, padding=1 if stride == 1 else 0, ceil_mode=True)


def rectified(*shape: int) -> torch.Tensor:
    """What GoogLeNet pools: half of it zeros, of which some bear a minus sign, as a rectification may leave them."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return x.clamp(min=0).copysign(torch.where(x < -1, -1.0, 1.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("size_hw", [(12, 18), (2, 2), (2, 8), (7, 12), (9, 5), (3, 3)])
@pytest.mark.parametrize(("kernel", "stride"), KINDS)
@pytest.mark.parametrize("batch", [1, 3, 0])
def test_it_equals_torchs(batch: int, kernel: int, stride: int, size_hw: tuple[int, int], dtype: torch.dtype) -> None:
    x = rectified(batch, 5, *size_hw).to(dtype)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        before = given.clone()
        with torch.inference_mode():
            pooled = MaxPool(kernel, stride=stride)(given)
        assert torch.equal(pooled, torchs(kernel, stride)(given))
        assert torch.equal(given, before)


@pytest.mark.parametrize(("kernel", "stride"), KINDS)
def test_infinite_values_and_what_is_no_number(kernel: int, stride: int) -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 2, 5], x[0, 0, 6, 1] = torch.inf, torch.nan
    with torch.inference_mode():
        pooled = MaxPool(kernel, stride=stride)(x)
    torch.testing.assert_close(pooled, torchs(kernel, stride)(x), equal_nan=True)


@pytest.mark.parametrize(("kernel", "stride"), KINDS)
def test_gradients_are_torchs(kernel: int, stride: int) -> None:
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    gradients = [
        torch.autograd.grad(pool(x).square().sum(), x)[0]
        for pool in (MaxPool(kernel, stride=stride), torchs(kernel, stride))
    ]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("variant", [Variant(block, norm) for block in get_args(Block) for norm in get_args(Norm)])
def test_nothing_that_googlenet_pools_is_negative(variant: Variant) -> None:
    network = GoogLeNet(variant=variant).eval()
    lowest = []
    for module in network.modules():
        if isinstance(module, MaxPool):
            module.register_forward_hook(lambda _, given, __: lowest.append(given[0].min().item()))
    with torch.inference_mode():
        network.features(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert len(lowest) == 13
    assert min(lowest) >= 0


def test_memory_stays_in_the_order_that_the_next_layer_wants() -> None:
    x = torch.randn(2, 5, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for kernel, stride in KINDS:
            assert MaxPool(kernel, stride=stride)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # the tracer that exports use
def test_a_graph_holds_torchs_own_pooling() -> None:
    with torch.no_grad():
        traced = torch.jit.trace(MaxPool(3, stride=2), torch.rand(1, 3, 8, 8))
    graph = str(traced.inlined_graph)
    assert "max_pool2d" in graph
    assert "maximum" not in graph


@pytest.mark.parametrize(("kernel", "stride"), KINDS)
def test_inference_uses_no_kernel_that_notes_places(kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.MaxPool2d, "forward", None)
    with torch.no_grad():
        assert MaxPool(kernel, stride=stride)(torch.randn(1, 3, 8, 8)).shape == (1, 3, 8 // stride, 8 // stride)

"""Fused convolutions give the answers of plain ones, or are not used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from backbone import PAPER, GoogLeNet, Variant
from backbone import fused as fused_module
from backbone.fused import KEPT_SHAPES, fuse, fuse_convolutions
from backbone.inception import ConvUnit, fold_batch_norm
from tests.backbone.networks import fill_parameters, name_variant


def folded_trunk(variant: Variant) -> GoogLeNet:
    network = GoogLeNet(variant=variant).to(memory_format=torch.channels_last)
    fill_parameters(network)
    network.eval()
    fold_batch_norm(network)
    return network


needs_operators = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_convolution_pointwise"), reason="this torch has no fused operators"
)


@needs_operators
@pytest.mark.parametrize("size", [(64, 64), (45, 83)])
@pytest.mark.parametrize("variant", [Variant(), PAPER, Variant("factorized")], ids=name_variant)
def test_the_trunk_answers_the_same(variant: Variant, size: tuple[int, int]) -> None:
    network = folded_trunk(variant)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        plain = network.features(images)
        assert fuse_convolutions(network) == sum(isinstance(module, ConvUnit) for module in network.modules())
        for name, features in network.features(images).items():
            torch.testing.assert_close(features, plain[name], rtol=1e-4, atol=1e-4)


@needs_operators
def test_shapes_that_take_turns_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    block = ConvUnit(3, 4, 3).eval()
    block.fold()
    fused = fuse(block)
    assert fused is not None
    packed = []
    reorder = torch.ops.mkldnn._reorder_convolution_weight
    operators = SimpleNamespace(
        _convolution_pointwise=torch.ops.mkldnn._convolution_pointwise,
        _reorder_convolution_weight=lambda *rest: packed.append(tuple(rest[-1])) or reorder(*rest),
    )
    monkeypatch.setattr(torch.ops, "mkldnn", operators)
    cores = torch.get_num_threads()
    with torch.inference_mode():
        for size in [8, 9, 8, 9, *range(20, 20 + KEPT_SHAPES - 1), 9, 8]:
            x = torch.randn(1, 3, size, size)
            torch.testing.assert_close(fused(x), torch.relu(block.conv(x)), rtol=1e-4, atol=1e-4)
    # The oldest, 8, had to make room, and 9 was still there.
    assert [shape[-1] for shape in packed] == [8, 9, *range(20, 20 + KEPT_SHAPES - 1), 8]
    packed.clear()
    try:
        for threads in (cores + 1, cores, cores + 1, cores):  # on more cores another layout may be the best
            torch.set_num_threads(threads)
            with torch.inference_mode():
                fused(x)
    finally:
        torch.set_num_threads(cores)
    assert len(packed) == 1


@needs_operators
def test_several_threads_at_once_get_what_each_gets_alone() -> None:
    block = ConvUnit(3, 4, 3).eval()
    block.fold()
    fused = fuse(block)
    assert fused is not None
    inputs = [torch.randn(1, 3, size, size) for size in range(8, 8 + 3 * KEPT_SHAPES)] * 4  # too many to be kept

    @torch.inference_mode()
    def answer(x: torch.Tensor) -> torch.Tensor:
        return fused(x)

    with ThreadPoolExecutor(4) as pool:
        for x, found in zip(inputs, pool.map(answer, inputs), strict=True):
            torch.testing.assert_close(found, torch.relu(block.conv(x)), rtol=1e-4, atol=1e-4)
    assert len(fused._packed) == KEPT_SHAPES


@needs_operators
def test_blocks_that_are_not_folded_or_still_learn_are_left_alone() -> None:
    assert fuse(ConvUnit(3, 4, 3).eval()) is None  # not folded: no bias
    block = ConvUnit(3, 4, 3).eval()
    block.fold()
    assert fuse(block) is not None
    assert fuse(block.train()) is None


def test_other_answers_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    block = ConvUnit(3, 4, 3).eval()
    block.fold()

    class Wrong(torch.nn.Module):
        def __init__(self, conv: torch.nn.Conv2d) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.conv(x)) + 1

    monkeypatch.setattr(fused_module, "FusedConvReLU", Wrong)
    assert fuse(block) is None


def test_a_torch_without_the_operators_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    block = ConvUnit(3, 4, 3).eval()
    block.fold()

    def missing(conv: torch.nn.Conv2d) -> torch.nn.Module:
        raise AttributeError("no such operator")

    monkeypatch.setattr(fused_module, "FusedConvReLU", missing)
    assert fuse_convolutions(block) == 0
    assert block.fused is None

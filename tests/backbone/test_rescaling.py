"""Learnt weights at the size of fresh ones: another size, the same network."""

from __future__ import annotations

import math

import torch

from backbone.googlenet import GoogLeNet
from backbone.inception import ConvUnit
from backbone.rescaling import rescale_like_fresh
from backbone.variant import Variant
from backbone.weights import load_backbone_weights


def _learnt() -> GoogLeNet:
    network = GoogLeNet().eval()
    load_backbone_weights(network, "shipped")
    return network


def test_the_answers_stay_and_the_sizes_are_those_of_a_fresh_network() -> None:
    network, rescaled = _learnt(), _learnt()
    rescale_like_fresh(rescaled)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for before, after in zip(network.features(images).values(), rescaled.features(images).values(), strict=True):
            assert (before - after).norm() < 1e-4 * before.norm()
    fresh = {name: unit for name, unit in GoogLeNet().named_modules() if isinstance(unit, ConvUnit)}
    ratios = []
    for name, unit in rescaled.named_modules():
        if isinstance(unit, ConvUnit):
            torch.testing.assert_close(
                unit.conv.weight.norm().item(), math.sqrt(2 * unit.conv.in_channels), rtol=1e-5, atol=0
            )
            ratios.append(unit.conv.weight.norm().item() / fresh[name].conv.weight.norm().item())
    assert len(ratios) > 50
    assert 0.9 < min(ratios) <= max(ratios) < 1.1


def test_what_is_not_normalised_or_zero_stays_as_it_is() -> None:
    network = GoogLeNet(variant=Variant(norm="lrn"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rescale_like_fresh(network)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    unit = ConvUnit(2, 3, 1)
    torch.nn.init.zeros_(unit.conv.weight)
    rescale_like_fresh(unit)
    assert not unit.conv.weight.any()


def test_channels_of_next_to_no_variance_keep_their_answers_too() -> None:
    unit = ConvUnit(3, 4, 3).eval()
    assert isinstance(unit.bn, torch.nn.BatchNorm2d)
    unit.bn.running_var = torch.tensor([0.0, 1e-5, 1e-4, 1.0])
    unit.conv.weight.data.mul_(10)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = unit(images)
        rescale_like_fresh(unit)
        assert float(before.mean()) > 1
        torch.testing.assert_close(unit(images), before, rtol=1e-3, atol=1e-3)

"""Folded normalisation gives the same answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backbone import PAPER, GoogLeNet, Variant
from backbone.inception import ConvUnit, InceptionBlock, InceptionChannels, fold_batch_norm
from tests.backbone.networks import (
    VARIANTS,
    assert_same_state,
    copy_state,
    fill_parameters,
    mark_heavy,
    name_variant,
    num_batch_norms,
    random_images,
)


def make_block(variant: Variant = Variant(), *, asymmetric: bool = False) -> InceptionBlock:  # noqa: B008 - frozen
    block = InceptionBlock(6, InceptionChannels(3, 4, 5, 2, 3, 4), variant=variant, asymmetric=asymmetric)
    fill_parameters(block)
    return block.eval()


def test_convolution_by_hand() -> None:
    """(2 x - mean) / sqrt(var + eps) * weight + bias = (2 x - 1) / 2 * 3 + 0.5, as one convolution 3 x - 1."""
    block = ConvUnit(1, 1, 1).eval()
    assert isinstance(block.bn, nn.BatchNorm2d)
    assert block.bn.running_mean is not None
    assert block.bn.running_var is not None
    with torch.no_grad():
        block.conv.weight.fill_(2.0)
        block.bn.running_mean.fill_(1.0)
        block.bn.running_var.fill_(4.0 - 1e-3)
        block.bn.weight.fill_(3.0)
        block.bn.bias.fill_(0.5)
    block.fold()
    assert block.conv.bias is not None
    torch.testing.assert_close(block.conv.weight.flatten(), torch.tensor([3.0]))
    torch.testing.assert_close(block.conv.bias, torch.tensor([-1.0]))


# Normalisations of the trunk: 3 at the start, then 3 in each of 9 naive modules or 6 in each of 9 reduced ones, or 7 in
# each of the 4 factorized ones of stages 3 and 5, and 1 + 3 + 5 + 1 in each of the 5 of stage 4.
NUM_NORMS = {"naive": 3 + 9 * 3, "reduced": 3 + 9 * 6, "factorized": 3 + 4 * 7 + 5 * 10}


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_every_module_answers_the_same(variant: Variant, asymmetric: bool) -> None:
    block = make_block(variant, asymmetric=asymmetric)
    images = random_images(2, (5, 7), channels=6)
    assert (num_batch_norms(block) > 0) == (variant.norm == "batchnorm")
    with torch.no_grad():
        expected = block(images)
        fold_batch_norm(block)
        torch.testing.assert_close(block(images), expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.1
    assert num_batch_norms(block) == 0


@pytest.mark.parametrize("variant", mark_heavy([v for v in VARIANTS if v.norm == "batchnorm"]))
def test_trunk_answers_the_same(variant: Variant) -> None:
    network = GoogLeNet(variant=variant)
    fill_parameters(network)
    network.eval()
    images = random_images(2, (64, 96))
    assert num_batch_norms(network) == NUM_NORMS[variant.block]
    with torch.no_grad():
        expected = network.features(images)
        fold_batch_norm(network)
        by_stage = network.features(images)
    for name, expected_features in expected.items():
        assert expected_features.std() > 0.1
        torch.testing.assert_close(by_stage[name], expected_features, rtol=1e-4, atol=1e-4)
    assert num_batch_norms(network) == 0


def test_where_responses_are_normalised_there_is_nothing_to_fold() -> None:
    network = GoogLeNet(variant=PAPER).eval()
    before = copy_state(network)
    images = random_images(1, (32, 32))
    with torch.no_grad():
        expected = network.features(images)
        fold_batch_norm(network)
        assert_same_state(network, before)
        for name, features in network.features(images).items():
            assert torch.equal(features, expected[name])


def test_classifier_answers_the_same() -> None:
    network = GoogLeNet(10, auxiliary=True)
    fill_parameters(network)
    network.eval()
    images = random_images(1, (32, 32))
    with torch.no_grad():
        expected = network(images).logits
        fold_batch_norm(network)
        torch.testing.assert_close(network(images).logits, expected, rtol=1e-4, atol=1e-4)
    assert num_batch_norms(network) == 0


def test_folding_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode only"):
        fold_batch_norm(ConvUnit(3, 4, 1))


def test_folding_takes_the_root_too() -> None:
    conv = ConvUnit(3, 4, 1).eval()
    fold_batch_norm(conv)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in conv.modules())


def test_folding_twice_is_folding_once() -> None:
    block = make_block()
    fold_batch_norm(block)
    once = copy_state(block)
    fold_batch_norm(block)
    assert_same_state(block, once)

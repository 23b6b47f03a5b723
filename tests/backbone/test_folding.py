"""Folded normalisation gives the same answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backbone import GoogLeNet
from backbone.inception import ConvBNReLU, InceptionBlock, InceptionChannels, fold_batch_norm
from tests.backbone.networks import assert_same_state, copy_state, fill_parameters, num_batch_norms, random_images


def make_block() -> InceptionBlock:
    block = InceptionBlock(6, InceptionChannels(3, 4, 5, 2, 3, 4))
    fill_parameters(block)
    return block.eval()


def test_convolution_by_hand() -> None:
    """(2 x - mean) / sqrt(var + eps) * weight + bias = (2 x - 1) / 2 * 3 + 0.5, as one convolution 3 x - 1."""
    block = ConvBNReLU(1, 1, 1).eval()
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


def test_inception_block_answers_the_same() -> None:
    block = make_block()
    images = random_images(2, (5, 7), channels=6)
    with torch.no_grad():
        expected = block(images)
        fold_batch_norm(block)
        torch.testing.assert_close(block(images), expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.1
    assert num_batch_norms(block) == 0


def test_trunk_answers_the_same() -> None:
    network = GoogLeNet()
    fill_parameters(network)
    network.eval()
    images = random_images(2, (64, 96))
    assert num_batch_norms(network) == 57  # 3 at the start, 6 in each of 9 Inception modules
    with torch.no_grad():
        expected = network.features(images)
        fold_batch_norm(network)
        by_stage = network.features(images)
    for name, expected_features in expected.items():
        assert expected_features.std() > 0.1
        torch.testing.assert_close(by_stage[name], expected_features, rtol=1e-4, atol=1e-4)
    assert num_batch_norms(network) == 0


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
        fold_batch_norm(ConvBNReLU(3, 4, 1))


def test_folding_takes_the_root_too() -> None:
    conv = ConvBNReLU(3, 4, 1).eval()
    fold_batch_norm(conv)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in conv.modules())


def test_folding_twice_is_folding_once() -> None:
    block = make_block()
    fold_batch_norm(block)
    once = copy_state(block)
    fold_batch_norm(block)
    assert_same_state(block, once)

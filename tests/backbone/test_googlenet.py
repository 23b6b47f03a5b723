"""GoogLeNet against torchvision's with the same state dict, and against table 1 of the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import GoogLeNet_Weights
from torchvision.models.googlenet import GoogLeNet as TorchvisionGoogLeNet

from backbone import PAPER, GoogLeNet, Variant
from backbone.googlenet import INCEPTION_TABLE
from backbone.inception import ConvUnit
from tests.backbone.networks import count_conv_weights, count_parameters, fill_parameters, random_images

NUM_CLASSES = 10
SIZE_HW = (64, 96)


class PaperRow(NamedTuple):
    """A row of table 1: input channels, output channels of each convolution, weights without biases (PAPERS.md 1.1)."""

    in_channels: int
    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool: int
    num_weights: int


# The column "params" of the paper is wrong in several rows; num_weights are recomputed from the widths. For 3a:
# 192*64 + (192*96 + 9*96*128) + (192*16 + 25*16*32) + 192*32 = 12288 + 129024 + 15872 + 6144 = 163328.
PAPER_TABLE = {
    "inception3a": PaperRow(192, 64, 96, 128, 16, 32, 32, 163_328),
    "inception3b": PaperRow(256, 128, 128, 192, 32, 96, 64, 388_096),
    "inception4a": PaperRow(480, 192, 96, 208, 16, 48, 64, 375_552),
    "inception4b": PaperRow(512, 160, 112, 224, 24, 64, 64, 448_512),
    "inception4c": PaperRow(512, 128, 128, 256, 24, 64, 64, 509_440),
    "inception4d": PaperRow(512, 112, 144, 288, 32, 64, 64, 604_672),
    "inception4e": PaperRow(528, 256, 160, 320, 32, 128, 128, 867_328),
    "inception5a": PaperRow(832, 256, 160, 320, 32, 128, 128, 1_042_432),
    "inception5b": PaperRow(832, 384, 192, 384, 48, 128, 128, 1_442_816),
}

STAGES = ["conv3", *PAPER_TABLE]


def make_reference(num_classes: int = NUM_CLASSES, *, aux_logits: bool = True) -> TorchvisionGoogLeNet:
    """Torchvision's network with drawn numbers and without dropout."""
    reference = TorchvisionGoogLeNet(num_classes, aux_logits, init_weights=False, dropout=0.0, dropout_aux=0.0)
    fill_parameters(reference)
    return reference


def make_twin(reference: TorchvisionGoogLeNet) -> GoogLeNet:
    """Our network with the reference's state dict and without dropout."""
    network = GoogLeNet(NUM_CLASSES, auxiliary=True, dropout=0.0)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    network.load_state_dict(reference.state_dict(), strict=True)
    return network


def record_stages(reference: TorchvisionGoogLeNet, images: Tensor) -> dict[str, Tensor]:
    """Outputs of the stem and the Inception modules of torchvision's."""
    by_stage: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        by_stage[name] = output

    hooks = [
        reference.get_submodule(name).register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
        for name in STAGES
    ]
    reference(images)
    for hook in hooks:
        hook.remove()
    return by_stage


GRADIENTS = (
    "conv1.conv.weight",
    "inception4a.branch3.1.conv.weight",
    "inception5b.branch4.1.bn.weight",
    "aux1.fc1.weight",
    "aux2.conv.bn.bias",
    "fc.bias",
)


def weighted_objective(outputs: Sequence[Tensor]) -> Tensor:
    """Each output weighs differently, so that exchanged auxiliaries give other gradients."""
    weighted = [weight * logits.square().mean() for weight, logits in zip((1.0, 0.3, 0.7), outputs, strict=True)]
    return torch.stack(weighted).sum()


def test_evaluation_outputs_equal_torchvision() -> None:
    reference = make_reference().eval()
    network = make_twin(reference).eval()
    images = random_images(2, SIZE_HW)
    with torch.no_grad():
        output, expected = network(images), reference(images)
        by_stage, expected_stages = network.features(images), record_stages(reference, images)
    assert expected.std() > 0.1  # or the tolerance would say nothing
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=1e-5)
    assert output.aux1_logits is None
    assert output.aux2_logits is None
    assert list(by_stage) == list(expected_stages)
    for name, expected_features in expected_stages.items():
        torch.testing.assert_close(by_stage[name], expected_features, rtol=0, atol=1e-5)


def test_training_outputs_gradients_and_statistics_equal_torchvision() -> None:
    reference = make_reference().train()
    network = make_twin(reference).train()
    images = random_images(2, SIZE_HW)
    output, expected = network(images), reference(images)
    assert output.aux1_logits is not None
    assert output.aux2_logits is not None
    ours = (output.logits, output.aux1_logits, output.aux2_logits)
    theirs = (expected.logits, expected.aux_logits1, expected.aux_logits2)
    for logits, expected_logits in zip(ours, theirs, strict=True):
        torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-5)
    weighted_objective(ours).backward()
    weighted_objective(theirs).backward()
    for name in GRADIENTS:
        gradient, expected_gradient = network.get_parameter(name).grad, reference.get_parameter(name).grad
        assert gradient is not None
        assert expected_gradient is not None
        largest = expected_gradient.abs().max().item()
        assert largest > 1e-4, name
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-4 * largest)
    for name in ("conv1.bn.running_mean", "inception5b.branch1.bn.running_var", "aux1.conv.bn.running_mean"):
        torch.testing.assert_close(network.get_buffer(name), reference.get_buffer(name), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("auxiliary", "expected"), [(False, 6_624_904), (True, 13_004_888)])
def test_parameter_count_equals_torchvision(auxiliary: bool, expected: int) -> None:
    with torch.device("meta"):
        network = GoogLeNet(1000, auxiliary=auxiliary)
        reference = TorchvisionGoogLeNet(1000, aux_logits=auxiliary, init_weights=False)
    assert count_parameters(network) == count_parameters(reference) == expected
    if not auxiliary:  # the published count leaves them out
        assert count_parameters(network) == GoogLeNet_Weights.IMAGENET1K_V1.meta["num_params"]


# By hand. conv1 gives ceil(n / 2); the three 3x3 pools give floor(n / 2) (no padding: for odd n the last window starts
# at n - 3); the 2x2 pool gives ceil(n / 2). Height 45: 23, 11, 5, 2, 1. Width 70: 35, 17, 8, 4, 2.
# Height 50: 25, 12, 6, 3, 2. Width 33: 17, 8, 4, 2, 1.
@pytest.mark.parametrize(
    ("size_hw", "expected_sizes"),
    [
        (SIZE_HW, {4: (16, 24), 8: (8, 12), 16: (4, 6), 32: (2, 3)}),
        ((45, 70), {4: (11, 17), 8: (5, 8), 16: (2, 4), 32: (1, 2)}),
        ((50, 33), {4: (12, 8), 8: (6, 4), 16: (3, 2), 32: (2, 1)}),
    ],
)
def test_stage_table_tells_the_truth(size_hw: tuple[int, int], expected_sizes: dict[int, tuple[int, int]]) -> None:
    network = GoogLeNet().eval()
    with torch.no_grad():
        by_stage = network.features(random_images(2, size_hw))
    assert list(by_stage) == [stage.name for stage in network.stages] == STAGES
    for stage in network.stages:
        assert by_stage[stage.name].shape == (2, stage.channels, *expected_sizes[stage.stride]), stage
        for actual, side in zip(expected_sizes[stage.stride], size_hw, strict=True):
            assert math.floor(side / stage.stride) <= actual <= math.ceil(side / stage.stride)


def test_strides_of_the_stages() -> None:
    strides = {"conv3": 4, "inception3a": 8, "inception3b": 8, "inception4a": 16, "inception4e": 16, "inception5b": 32}
    assert {stage.name: stage.stride for stage in GoogLeNet().stages if stage.name in strides} == strides


def test_five_kernel_of_the_paper_gives_the_counts_of_table_1() -> None:
    with torch.device("meta"):
        network = GoogLeNet(variant=Variant(five_kernel=5))
    assert count_conv_weights(network.conv1) == 7 * 7 * 3 * 64 == 9_408
    assert count_conv_weights(network.conv2) + count_conv_weights(network.conv3) == 64 * 64 + 9 * 64 * 192 == 114_688
    for name, row in PAPER_TABLE.items():
        by_hand = row.in_channels * (row.one + row.three_reduce + row.five_reduce + row.pool)
        by_hand += 9 * row.three_reduce * row.three + 25 * row.five_reduce * row.five
        assert by_hand == row.num_weights, f"the table of this test is wrong at {name}"
        assert tuple(INCEPTION_TABLE[name]) == row[1:7], name
        assert count_conv_weights(network.get_submodule(name)) == row.num_weights, name


def test_trunk_has_no_classifier_and_says_so() -> None:
    network = GoogLeNet()
    assert not any(key.startswith(("fc.", "aux")) for key in network.state_dict())
    with pytest.raises(ValueError, match="no classifier; build it with num_classes"):
        network(random_images(1, (32, 32)))


def test_auxiliary_classifiers_need_classes() -> None:
    with pytest.raises(ValueError, match="auxiliary classifiers need num_classes"):
        GoogLeNet(auxiliary=True)


def test_training_without_auxiliary_classifiers_answers_none() -> None:
    output = GoogLeNet(NUM_CLASSES).train()(random_images(2, (32, 32)))
    assert output.logits.shape == (2, NUM_CLASSES)
    assert output.aux1_logits is None
    assert output.aux2_logits is None


def test_the_paper_pools_3x3_before_stage_5_and_torchvision_2x2() -> None:
    """A map of 15 places: 3x3 windows begin at 0, 2, ..., 12, those of 2x2 at 14 too."""
    images = torch.zeros(1, 3, 240, 240)
    for variant, places in ((PAPER, 7), (Variant(), 8)):
        features = GoogLeNet(variant=variant).eval().features(images)
        assert features["inception4e"].shape[-1] == 15
        assert features["inception5b"].shape[-1] == places


def test_dropout_rates_are_those_of_the_paper() -> None:
    network = GoogLeNet(NUM_CLASSES, auxiliary=True)
    rates = {name: module.p for name, module in network.named_modules() if isinstance(module, nn.Dropout)}
    assert rates == {"dropout": 0.4, "aux1.dropout": 0.7, "aux2.dropout": 0.7}


@pytest.mark.parametrize("variant", [Variant(), PAPER], ids=lambda variant: variant.norm)
def test_start_keeps_the_size_of_activations(variant: Variant) -> None:
    """He initialisation: variance 2 / (kernel area * channels), outputs behind a normalisation and inputs without."""
    network = GoogLeNet(variant=variant)
    for block in (network.conv3, network.get_submodule("inception4e.branch2.1")):
        assert isinstance(block, ConvUnit)
        out_channels, in_channels = block.conv.weight.shape[:2]
        channels = out_channels if variant.norm == "batchnorm" else in_channels
        assert block.conv.weight.std().item() == pytest.approx((2 / (9 * channels)) ** 0.5, rel=0.02)
    assert all(
        not conv.bias.any() for conv in network.modules() if isinstance(conv, nn.Conv2d) and conv.bias is not None
    )

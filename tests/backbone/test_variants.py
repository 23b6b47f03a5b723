"""Every variant of the network: it builds, declares what it gives, learns, and weighs what was counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backbone import PAPER, GoogLeNet, Variant
from backbone.googlenet import ResponseNorm
from backbone.inception import fold_batch_norm
from backbone.variant import Norm
from tests.backbone.networks import (
    VARIANTS,
    count_conv_weights,
    count_parameters,
    fill_parameters,
    mark_heavy,
    name_variant,
    random_images,
)

# 1x1, 3x3, 5x5 and pool of table 1 added up; 64 + 128 + 32 + 32 = 256 for 3a.
REDUCED_CHANNELS = [256, 480, 512, 512, 512, 528, 832, 832, 1024]

# The pooled input in the place of its projection: 64 + 128 + 32 + 192 = 416 for 3a, 128 + 192 + 96 + 416 = 832 for 3b.
NAIVE_CHANNELS = [416, 832, 1280, 1728, 2176, 2640, 3344, 4048, 4944]

# PAPERS.md 1.1, "with biases per module": the weights of table 1 and one bias for each output of a convolution.
PAPER_PARAMETERS = {
    "conv1": 9_472,
    "conv2": 4_160,
    "conv3": 110_784,
    "inception3a": 163_696,
    "inception3b": 388_736,
    "inception4a": 376_176,
    "inception4b": 449_160,
    "inception4c": 510_104,
    "inception4d": 605_376,
    "inception4e": 868_352,
    "inception5a": 1_043_456,
    "inception5b": 1_444_080,
    "fc": 1_025_000,
}


def build_shapes(variant: Variant, num_classes: int | None = None, *, auxiliary: bool = False) -> GoogLeNet:
    """A network without numbers."""
    with torch.device("meta"):
        return GoogLeNet(num_classes, variant=variant, auxiliary=auxiliary)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_stages_are_as_declared(variant: Variant) -> None:
    network = build_shapes(variant).eval()
    by_stage = network.features(torch.empty(2, 3, 64, 96, device="meta"))
    expected = NAIVE_CHANNELS if variant.block == "naive" else REDUCED_CHANNELS
    assert [stage.channels for stage in network.stages] == [192, *expected]
    assert [stage.stride for stage in network.stages] == [4, 8, 8, 16, 16, 16, 16, 16, 32, 32]
    assert list(by_stage) == [stage.name for stage in network.stages]
    for stage in network.stages:
        assert by_stage[stage.name].shape == (2, stage.channels, 64 // stage.stride, 96 // stage.stride), stage
    assert network.variant == variant


@pytest.mark.parametrize("variant", mark_heavy(VARIANTS))
def test_a_step_of_training_reaches_every_parameter(variant: Variant) -> None:
    network = GoogLeNet(5, variant=variant, auxiliary=True).train()
    output = network(random_images(2, (64, 96)))
    assert output.aux1_logits is not None
    assert output.aux2_logits is not None
    logits = torch.cat(output)
    assert logits.shape == (6, 5)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3, 4, 0])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": "fat"}, "block: got 'fat', expected one of naive, reduced, factorized"),
        ({"norm": "layer"}, "norm: got 'layer', expected one of lrn, batchnorm"),
        ({"five_kernel": 4}, "five_kernel: got 4, expected one of 3, 5"),
    ],
)
def test_unknown_options_are_refused_with_the_choices(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Variant(**options)


def test_the_network_of_the_paper_has_its_parameters() -> None:
    assert Variant("reduced", "lrn", 5) == PAPER
    network = build_shapes(PAPER, 1000)
    counted = {name: count_parameters(network.get_submodule(name)) for name in PAPER_PARAMETERS}
    assert counted == PAPER_PARAMETERS
    assert count_parameters(network) == sum(PAPER_PARAMETERS.values()) == 6_998_552
    assert network.fc is not None
    assert count_conv_weights(network) + network.fc.weight.numel() == 6_990_272


def test_the_auxiliary_classifiers_have_their_parameters() -> None:
    """4a has 512 channels: 512 * 128 + 128, then 2048 * 1024 + 1024, then 1024 * 1000 + 1000; 4d has 528."""
    network = build_shapes(PAPER, 1000, auxiliary=True)
    aux1, aux2 = (count_parameters(network.get_submodule(name)) for name in ("aux1", "aux2"))
    assert aux1 == 65_664 + 2_098_176 + 1_025_000 == 3_188_840
    assert aux2 == 67_712 + 2_098_176 + 1_025_000 == 3_190_888
    assert count_parameters(network) == 13_378_280


def test_the_factorized_network_has_the_weights_counted_by_hand() -> None:
    """Two 3x3 in stages 3 and 5; 1x7 and 7x1 in stage 4. In each sum: 1x1, "3x3" branch, "5x5" branch, projection."""
    network = build_shapes(Variant("factorized"))
    by_hand = {
        "inception3a": 192 * 64
        + (192 * 96 + 9 * 96 * 128)
        + (192 * 16 + 9 * 16 * 32 + 9 * 32 * 32)
        + 192 * 32,  # 12288 + 129024 + 16896 + 6144
        "inception4a": 480 * 192
        + (480 * 96 + 7 * 96 * 96 + 7 * 96 * 208)
        + (480 * 16 + 7 * 16 * 16 + 7 * 16 * 48 + 2 * 7 * 48 * 48)
        + 480 * 64,  # 92160 + 250368 + 47104 + 30720
        "inception5a": 832 * 256
        + (832 * 160 + 9 * 160 * 320)
        + (832 * 32 + 9 * 32 * 128 + 9 * 128 * 128)
        + 832 * 128,  # 212992 + 593920 + 210944 + 106496
    }
    assert by_hand == {"inception3a": 164_352, "inception4a": 420_352, "inception5a": 1_124_352}
    assert {name: count_conv_weights(network.get_submodule(name)) for name in by_hand} == by_hand


def test_the_factorized_network_is_one_whatever_its_five_kernel() -> None:
    three, five = (build_shapes(Variant("factorized", five_kernel=kernel)).state_dict() for kernel in (3, 5))
    assert {name: value.shape for name, value in three.items()} == {name: value.shape for name, value in five.items()}


def normalize_by_hand(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """b_c = a_c / (1 + 1e-4 / 5 * sum of a^2 over the channels c-2 to c+2) ^ 0.75; what is not there counts as 0."""
    result = np.empty_like(x)
    images, channels, height, width = x.shape
    for image in range(images):
        for c in range(channels):
            for row in range(height):
                for column in range(width):
                    total = sum(x[image, k, row, column] ** 2 for k in range(max(c - 2, 0), min(c + 3, channels)))
                    result[image, c, row, column] = x[image, c, row, column] / (1 + 1e-4 / 5 * total) ** 0.75
    return result


def test_response_normalisation_equals_its_formula() -> None:
    normalize = GoogLeNet(variant=PAPER).response_norm
    x = 300 * random_images(2, (2, 3), channels=8).double()
    expected = torch.from_numpy(normalize_by_hand(x.numpy()))
    assert (x.abs() / expected.abs()).max() > 2  # or the tolerance would say nothing
    torch.testing.assert_close(normalize(x), expected, rtol=1e-10, atol=0)


def record_order(network: GoogLeNet) -> list[str]:
    """Names of the modules at the start of the network, as they are called."""
    order: list[str] = []
    for name, module in network.named_children():
        if not name.startswith(("inception", "maxpool3", "maxpool4")):
            module.register_forward_hook(lambda _m, _i, _o, name=name: order.append(name))
    network.features(torch.empty(1, 3, 64, 64, device="meta"))
    return order


def test_responses_are_normalised_twice_in_the_order_of_the_paper() -> None:
    """Figure 3: 7x7, pool, normalise, 1x1, 3x3, normalise, pool."""
    network = build_shapes(PAPER)
    assert sum(isinstance(module, ResponseNorm) for module in network.modules()) == 1  # called twice
    order = ["conv1", "maxpool1", "response_norm", "conv2", "conv3", "response_norm", "maxpool2"]
    assert record_order(network) == order


def test_each_variant_has_one_kind_of_normalisation() -> None:
    for variant in VARIANTS:
        network = build_shapes(variant)
        kinds = {type(module) for module in network.modules()} & {ResponseNorm, nn.BatchNorm2d}
        assert kinds == {ResponseNorm if variant.norm == "lrn" else nn.BatchNorm2d}, variant
        biases = [conv.bias is not None for conv in network.modules() if isinstance(conv, nn.Conv2d)]
        assert biases == [variant.norm == "lrn"] * len(biases), variant


def centred_square(size: int, side: int) -> Tensor:
    """(side, side) bool, true in the middle ``size`` x ``size``."""
    square = torch.zeros(side, side, dtype=torch.bool)
    margin = (side - size) // 2
    square[margin : side - margin, margin : side - margin] = True
    return square


@pytest.mark.parametrize(
    ("variant", "stage", "branch2", "branch3"),
    [
        (Variant(five_kernel=3), "3a", 3, 3),
        (Variant(five_kernel=5), "3a", 3, 5),
        (PAPER, "4a", 3, 5),
        (Variant("factorized"), "3a", 3, 5),  # two 3x3
        (Variant("factorized", "lrn"), "4a", 7, 13),  # 1x7 and 7x1 see n x n; twice, 2n - 1
        (Variant("factorized"), "5b", 3, 5),
    ],
)
def test_an_impulse_comes_out_as_large_as_the_kernels(variant: Variant, stage: str, branch2: int, branch3: int) -> None:
    block = GoogLeNet(variant=variant).eval().get_submodule(f"inception{stage}")
    for name, size in (("branch2", branch2), ("branch3", branch3)):
        branch = block.get_submodule(name)
        convs = [module for module in branch.modules() if isinstance(module, nn.Conv2d)]
        for conv in convs:
            nn.init.constant_(conv.weight, 1 / conv.weight[0].numel())
        impulse = torch.zeros(1, convs[0].in_channels, 15, 15)
        impulse[0, 0, 7, 7] = 1.0
        with torch.no_grad():
            touched = branch(impulse)[0, 0] > 0
        assert torch.equal(touched, centred_square(size, 15)), name


@pytest.mark.parametrize("norm", ["lrn", "batchnorm"])
def test_either_norm_answers_in_bfloat16(norm: Norm) -> None:
    network = GoogLeNet(variant=Variant(norm=norm)).eval()
    fill_parameters(network)
    fold_batch_norm(network)
    images = random_images(1, (64, 64))
    with torch.no_grad():
        expected = network.features(images)["inception5b"]
        found = network.to(torch.bfloat16).features(images.to(torch.bfloat16))["inception5b"]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1 * float(expected.max()))

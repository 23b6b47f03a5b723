"""The forms of the Inception module, each built a second time by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

from backbone import Variant
from backbone.inception import ConvUnit, InceptionBlock, InceptionChannels
from backbone.variant import Block
from tests.backbone.networks import fill_parameters, random_images

CHANNELS = InceptionChannels(one=3, three_reduce=4, three=5, five_reduce=2, five=3, pool=4)
IN_CHANNELS = 6


def make_block(variant: Variant, *, asymmetric: bool = False) -> InceptionBlock:
    block = InceptionBlock(IN_CHANNELS, CHANNELS, variant=variant, asymmetric=asymmetric)
    fill_parameters(block)
    return block.eval()


def convolve(block: InceptionBlock, name: str, x: Tensor, padding: int | tuple[int, int]) -> Tensor:
    """Convolution with the block's own weights, and rectification."""
    weight, bias = block.get_parameter(f"{name}.conv.weight"), block.get_parameter(f"{name}.conv.bias")
    return conv2d(x, weight, bias, padding=padding).clamp(min=0)


@pytest.mark.parametrize("five_kernel", [3, 5])
def test_naive_is_figure_2a(five_kernel: int) -> None:
    block = make_block(Variant("naive", "lrn", five_kernel))
    x = random_images(2, (5, 7), channels=IN_CHANNELS)
    expected = torch.cat(
        [
            convolve(block, "branch1", x, 0),
            convolve(block, "branch2.0", x, 1),
            convolve(block, "branch3.0", x, five_kernel // 2),
            max_pool2d(x, 3, stride=1, padding=1),
        ],
        dim=1,
    )
    torch.testing.assert_close(block(x), expected)
    assert block.get_parameter("branch2.0.conv.weight").shape == (5, 6, 3, 3)
    assert block.get_parameter("branch3.0.conv.weight").shape == (3, 6, five_kernel, five_kernel)
    assert len(list(block.parameters())) == 6  # three convolutions
    assert block.out_channels == expected.shape[1] == 3 + 5 + 3 + 6


def test_reduced_is_figure_2b() -> None:
    block = make_block(Variant("reduced", "lrn", 5))
    x = random_images(2, (5, 7), channels=IN_CHANNELS)
    expected = torch.cat(
        [
            convolve(block, "branch1", x, 0),
            convolve(block, "branch2.1", convolve(block, "branch2.0", x, 0), 1),
            convolve(block, "branch3.1", convolve(block, "branch3.0", x, 0), 2),
            convolve(block, "branch4.1", max_pool2d(x, 3, stride=1, padding=1), 0),
        ],
        dim=1,
    )
    torch.testing.assert_close(block(x), expected)
    assert block.out_channels == expected.shape[1] == 3 + 5 + 3 + 4


def test_factorized_is_figure_5() -> None:
    block = make_block(Variant("factorized", "lrn"))
    x = random_images(2, (5, 7), channels=IN_CHANNELS)
    five = convolve(block, "branch3.2", convolve(block, "branch3.1", convolve(block, "branch3.0", x, 0), 1), 1)
    three = convolve(block, "branch2.1", convolve(block, "branch2.0", x, 0), 1)
    torch.testing.assert_close(block(x)[:, 3:11], torch.cat([three, five], dim=1))
    assert block.out_channels == block(x).shape[1] == 3 + 5 + 3 + 4


def test_asymmetric_is_figure_6() -> None:
    """1x7, then 7x1; the branch of the 5x5 has them twice."""
    block = make_block(Variant("factorized", "lrn"), asymmetric=True)
    x = random_images(2, (9, 8), channels=IN_CHANNELS)
    along, across = (0, 3), (3, 0)
    three = five = x
    for name, padding in (("0", 0), ("1", along), ("2", across)):
        three = convolve(block, f"branch2.{name}", three, padding)
    for name, padding in (("0", 0), ("1", along), ("2", across), ("3", along), ("4", across)):
        five = convolve(block, f"branch3.{name}", five, padding)
    torch.testing.assert_close(block(x)[:, 3:11], torch.cat([three, five], dim=1))
    kernels = [conv.kernel_size for conv in block.branch3.modules() if isinstance(conv, nn.Conv2d)]
    assert kernels == [(1, 1), (1, 7), (7, 1), (1, 7), (7, 1)]


@pytest.mark.parametrize("block", ["naive", "reduced"])
def test_only_the_factorized_form_is_asymmetric(block: Block) -> None:
    square = InceptionBlock(IN_CHANNELS, CHANNELS, variant=Variant(block))
    told = InceptionBlock(IN_CHANNELS, CHANNELS, variant=Variant(block), asymmetric=True)
    shapes = [[(key, value.shape) for key, value in module.state_dict().items()] for module in (square, told)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, (1, 7), (7, 1)])
def test_a_unit_keeps_the_size_and_rectifies(kernel_size: int | tuple[int, int]) -> None:
    unit = ConvUnit(IN_CHANNELS, 4, kernel_size).eval()
    answer = unit(random_images(2, (5, 9), channels=IN_CHANNELS))
    assert answer.shape == (2, 4, 5, 9)
    assert answer.min() == 0
    assert answer.max() > 0


def test_a_unit_halves_the_size_at_stride_2() -> None:
    unit = ConvUnit(IN_CHANNELS, 4, 7, stride=2, batch_norm=False)
    x = random_images(1, (11, 8), channels=IN_CHANNELS)
    assert unit(x).shape == (1, 4, 6, 4)
    assert unit.conv.bias is not None
    torch.testing.assert_close(unit(x), conv2d(x, unit.conv.weight, unit.conv.bias, stride=2, padding=3).relu())

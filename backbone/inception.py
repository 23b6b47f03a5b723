"""The two building blocks of GoogLeNet: a convolution with its rectification, and the Inception module in three forms.

Legend: B images, Cin/Cout channels, H/W spatial size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from backbone.max_pool import MaxPool
from backbone.variant import Variant

BATCH_NORM_EPS = 1e-3  # torchvision's value: its weights give other outputs with the usual 1e-5.

ASYMMETRIC_KERNEL = 7
"""n of the 1xn and nx1 convolutions: 7 on maps of 12 to 20 places a side (1512.00567, section 3.2)."""


class ConvUnit(nn.Module):
    """Convolution, batch normalisation if wanted, rectification. At stride 1 the output is as large as the input.

    Args:
        in_channels: Cin.
        out_channels: Cout.
        kernel_size: Side of the square kernel, or height and width; odd.
        stride: Step of the kernel.
        batch_norm: Whether to normalise; the convolution has a bias where not.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int = 1,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        padding = height // 2, width // 2
        self.conv = nn.Conv2d(in_channels, out_channels, (height, width), stride, padding, bias=not batch_norm)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS) if batch_norm else nn.Identity()
        self.fused: nn.Module | None = None  # See backbone.fused.

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H', W')."""
        if self.fused is not None:
            return self.fused(x)
        return torch.relu_(self.bn(self.conv(x)))

    def fold(self) -> None:
        """Merges the normalisation into the convolution, in place; the outputs in evaluation mode stay the same."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class InceptionChannels(NamedTuple):
    """One row of the paper's table 1: output channels of each convolution of an Inception module."""

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool: int


class InceptionBlock(nn.Module):
    """Inception module: four branches over the same input, concatenated.

    Args:
        in_channels: Cin.
        channels: Width of each convolution. The ``naive`` form has no reductions and no projection behind the pool:
            its output is Cin wider.
        variant: Form of the module, its normalisation and its largest kernel.
        asymmetric: Whether the ``factorized`` form takes 1xn and nx1 convolutions here (1512.00567, figure 6) instead
            of two 3x3 for the 5x5 (figure 5).

    Attributes:
        out_channels: Channels after concatenation.
    """

    def __init__(
        self,
        in_channels: int,
        channels: InceptionChannels,
        *,
        variant: Variant = Variant(),  # noqa: B008 - frozen
        asymmetric: bool = False,
    ) -> None:
        super().__init__()
        c = channels
        naive, factorized = variant.block == "naive", variant.block == "factorized"

        def conv(in_width: int, out_width: int, kernel: int | tuple[int, int]) -> ConvUnit:
            return ConvUnit(in_width, out_width, kernel, batch_norm=variant.batch_norm)

        def one_sided(in_width: int, out_width: int) -> list[ConvUnit]:
            n = ASYMMETRIC_KERNEL
            return [conv(in_width, in_width, (1, n)), conv(in_width, out_width, (n, 1))]

        def three(in_width: int) -> list[ConvUnit]:
            return one_sided(in_width, c.three) if factorized and asymmetric else [conv(in_width, c.three, 3)]

        def five(in_width: int) -> list[ConvUnit]:
            if factorized and asymmetric:
                return [*one_sided(in_width, c.five), *one_sided(c.five, c.five)]
            if factorized:
                return [conv(in_width, c.five, 3), conv(c.five, c.five, 3)]
            return [conv(in_width, c.five, variant.five_kernel)]

        pool = MaxPool(3, stride=1)
        self.branch1 = conv(in_channels, c.one, 1)
        if naive:
            self.branch2 = nn.Sequential(*three(in_channels))
            self.branch3 = nn.Sequential(*five(in_channels))
            self.branch4 = nn.Sequential(pool)
        else:
            self.branch2 = nn.Sequential(conv(in_channels, c.three_reduce, 1), *three(c.three_reduce))
            self.branch3 = nn.Sequential(conv(in_channels, c.five_reduce, 1), *five(c.five_reduce))
            self.branch4 = nn.Sequential(pool, conv(in_channels, c.pool, 1))
        self.out_channels = c.one + c.three + c.five + (in_channels if naive else c.pool)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, out_channels, H, W)."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


def fold_batch_norm(network: nn.Module) -> None:
    """Merges every normalisation of ``network`` into its convolution, in place; for inference only.

    Any module with a ``fold`` method takes part. Outputs in evaluation mode are equal up to rounding.

    Raises:
        ValueError: If the network is in training mode, where the statistics to merge are not settled.
    """
    if network.training:
        raise ValueError("batch normalisation can be folded in evaluation mode only; call eval() first")
    for module in list(network.modules()):
        if callable(fold := getattr(module, "fold", None)):
            fold()

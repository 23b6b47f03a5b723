"""The two building blocks of GoogLeNet: a normalised convolution and the Inception module (figure 2b).

Legend: B images, Cin/Cout channels, H/W spatial size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

BATCH_NORM_EPS = 1e-3  # torchvision's value: its weights give other outputs with the usual 1e-5.


class ConvBNReLU(nn.Module):
    """Convolution, batch normalisation, rectification.

    Args:
        in_channels: Cin.
        out_channels: Cout.
        kernel_size: Side of the square kernel.
        stride: Step of the kernel.
        padding: Zeros added at each border.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS)
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

    @property
    def out(self) -> int:
        """Channels after concatenation."""
        return self.one + self.three + self.five + self.pool


class InceptionBlock(nn.Module):
    """Inception module with dimension reduction ("Going deeper with convolutions", 1409.4842, figure 2b).

    Args:
        in_channels: Cin.
        channels: Width of each branch.
        five_kernel: 5 as in the paper, or 3 as in torchvision, whose "5x5" branch is a 3x3 convolution
            (a known slip that its weights depend on).
    """

    def __init__(self, in_channels: int, channels: InceptionChannels, *, five_kernel: int = 3) -> None:
        super().__init__()
        self.branch1 = ConvBNReLU(in_channels, channels.one, 1)
        self.branch2 = nn.Sequential(
            ConvBNReLU(in_channels, channels.three_reduce, 1),
            ConvBNReLU(channels.three_reduce, channels.three, 3, padding=1),
        )
        self.branch3 = nn.Sequential(
            ConvBNReLU(in_channels, channels.five_reduce, 1),
            ConvBNReLU(channels.five_reduce, channels.five, five_kernel, padding=five_kernel // 2),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
            ConvBNReLU(in_channels, channels.pool, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, channels.out, H, W)."""
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

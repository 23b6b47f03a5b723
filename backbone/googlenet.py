"""GoogLeNet ("Going deeper with convolutions", 1409.4842, table 1) with batch normalisation.

Module names follow torchvision's ``googlenet``, so that its state dict loads strictly and gives equal outputs.
Legend: B images, H/W spatial size of the input.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from backbone.inception import ConvBNReLU, InceptionBlock, InceptionChannels


class Stage(NamedTuple):
    """A place where features can be taken: module name, channels, and input pixels per feature."""

    name: str
    channels: int
    stride: int


INCEPTION_TABLE: dict[str, InceptionChannels] = {
    "inception3a": InceptionChannels(64, 96, 128, 16, 32, 32),
    "inception3b": InceptionChannels(128, 128, 192, 32, 96, 64),
    "inception4a": InceptionChannels(192, 96, 208, 16, 48, 64),
    "inception4b": InceptionChannels(160, 112, 224, 24, 64, 64),
    "inception4c": InceptionChannels(128, 128, 256, 24, 64, 64),
    "inception4d": InceptionChannels(112, 144, 288, 32, 64, 64),
    "inception4e": InceptionChannels(256, 160, 320, 32, 128, 128),
    "inception5a": InceptionChannels(256, 160, 320, 32, 128, 128),
    "inception5b": InceptionChannels(384, 192, 384, 48, 128, 128),
}
"""The Inception rows of table 1, in order."""

STAGES: tuple[Stage, ...] = tuple(
    Stage(name, channels.out, {"3": 8, "4": 16, "5": 32}[name[len("inception")]])
    for name, channels in INCEPTION_TABLE.items()
)
"""Every Inception output as a stage; heads read channels and stride here and never guess them."""


class AuxiliaryClassifier(nn.Module):
    """Side classifier on 4a or 4d (section 5): pool to 4x4, 1x1 convolution, two fully connected layers.

    Dropout is 70 %, as in the paper.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, num_classes) logits."""
        x = self.conv(nn.functional.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(self.dropout(torch.relu(self.fc1(x))))


class ClassifierOutput(NamedTuple):
    """Logits (B, num_classes) of the main and the two auxiliary classifiers; None where there is none."""

    logits: Tensor
    aux1_logits: Tensor | None
    aux2_logits: Tensor | None


class GoogLeNet(nn.Module):
    """The whole network: a trunk that serves features by stage, and the classifier of the paper on top.

    Args:
        num_classes: Classes of the classifier; None leaves the classifier out (a detector's backbone).
        auxiliary: Whether to build the auxiliary classifiers on 4a and 4d (training only).
        five_kernel: Kernel of the "5x5" branch: 3 fits torchvision's weights, 5 is the paper.
        dropout: Dropout before the last layer; 0.4 in the paper, 0.2 in torchvision.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        auxiliary: bool = False,
        five_kernel: int = 3,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if auxiliary and num_classes is None:
            raise ValueError("auxiliary classifiers need num_classes")
        self.conv1 = ConvBNReLU(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = ConvBNReLU(64, 64, 1)
        self.conv3 = ConvBNReLU(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        in_channels = 192
        for name, channels in INCEPTION_TABLE.items():
            self.add_module(name, InceptionBlock(in_channels, channels, five_kernel=five_kernel))
            in_channels = channels.out
        self.aux1 = AuxiliaryClassifier(512, num_classes) if auxiliary and num_classes else None
        self.aux2 = AuxiliaryClassifier(528, num_classes) if auxiliary and num_classes else None
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes) if num_classes else None
        self._initialize()

    def _initialize(self) -> None:
        """He initialisation, fit for rectified units behind batch normalisation."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Computes every stage of the trunk.

        Args:
            images: (B, 3, H, W), normalised RGB.

        Returns:
            Stage name -> (B, channels, H / stride, W / stride), for every entry of ``STAGES``. Sides that the stride
            does not divide are rounded up or down by the pools, as in torchvision.
        """
        pool_before = {"inception3a": self.maxpool2, "inception4a": self.maxpool3, "inception5a": self.maxpool4}
        x = self.conv3(self.conv2(self.maxpool1(self.conv1(images))))
        by_stage: dict[str, Tensor] = {}
        for stage in STAGES:
            if stage.name in pool_before:
                x = pool_before[stage.name](x)
            x = by_stage[stage.name] = self.get_submodule(stage.name)(x)
        return by_stage

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Classifies images, (B, 3, H, W) -> (B, num_classes); auxiliary logits in training mode only.

        Raises:
            ValueError: If the network was built without a classifier.
        """
        if self.fc is None:
            raise ValueError("this GoogLeNet has no classifier; build it with num_classes")
        by_stage = self.features(images)
        pooled = nn.functional.adaptive_avg_pool2d(by_stage["inception5b"], (1, 1)).flatten(1)
        aux1 = self.aux1(by_stage["inception4a"]) if self.aux1 is not None and self.training else None
        aux2 = self.aux2(by_stage["inception4d"]) if self.aux2 is not None and self.training else None
        return ClassifierOutput(self.fc(self.dropout(pooled)), aux1, aux2)

"""GoogLeNet ("Going deeper with convolutions", 1409.4842, table 1): one network whose variants are data.

Module names follow torchvision's ``googlenet``, so that its state dict loads strictly into the default variant and
gives equal outputs. Legend: B images, H/W spatial size of the input.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from backbone.inception import ConvUnit, InceptionBlock, InceptionChannels
from backbone.max_pool import MaxPool
from backbone.variant import Variant


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

_STRIDES = {"inception3": 8, "inception4": 16, "inception5": 32}


class ResponseNorm(nn.Module):
    """Local response normalisation over 5 channels. The paper gives no numbers; these are the Caffe replica's."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, in float32 at least: torch has no half-precision kernel for it on a CPU."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        return nn.functional.local_response_norm(wide, 5, alpha=1e-4, beta=0.75).to(x.dtype)


class AuxiliaryClassifier(nn.Module):
    """Side classifier on 4a or 4d (section 5): pool to 4x4, 1x1 convolution, two fully connected layers.

    Dropout is 70 %, as in the paper. Deviation: its 5x5 pool with stride 3 gives 4x4 places only for maps of 14 to 16;
    this one, torchvision's, gives them for inputs of any size; on a map of 14 each is a mean of 4x4 places.
    """

    def __init__(self, in_channels: int, num_classes: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.conv = ConvUnit(in_channels, 128, 1, batch_norm=batch_norm)
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
        variant: Form of the modules, normalisation, largest kernel.
        auxiliary: Whether to build the auxiliary classifiers on 4a and 4d (training only).
        dropout: Dropout before the last layer; 0.4 in the paper, 0.2 in torchvision.

    Attributes:
        stages: The stem's output and every Inception output; heads read channels and stride here and never guess them.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        variant: Variant = Variant(),  # noqa: B008 - frozen
        auxiliary: bool = False,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if auxiliary and num_classes is None:
            raise ValueError("auxiliary classifiers need num_classes")
        self.variant = variant
        batch_norm = variant.batch_norm
        self.conv1 = ConvUnit(3, 64, 7, stride=2, batch_norm=batch_norm)
        self.maxpool1 = MaxPool(3, stride=2)
        self.conv2 = ConvUnit(64, 64, 1, batch_norm=batch_norm)
        self.conv3 = ConvUnit(64, 192, 3, batch_norm=batch_norm)
        self.maxpool2 = MaxPool(3, stride=2)
        self.maxpool3 = MaxPool(3, stride=2)
        self.maxpool4 = MaxPool(2 if batch_norm else 3, stride=2)  # table 1 has 3x3; 2x2 is torchvision's
        self.response_norm = nn.Identity() if batch_norm else ResponseNorm()
        in_channels = 192
        stages = [Stage("conv3", in_channels, 4)]
        for name, channels in INCEPTION_TABLE.items():
            stride = _STRIDES[name[:-1]]
            block = InceptionBlock(in_channels, channels, variant=variant, asymmetric=stride == 16)
            self.add_module(name, block)
            in_channels = block.out_channels
            stages.append(Stage(name, in_channels, stride))
        self.stages = tuple(stages)
        width = {stage.name: stage.channels for stage in stages}
        self.aux1, self.aux2 = (
            AuxiliaryClassifier(width[name], num_classes, batch_norm=batch_norm) if auxiliary and num_classes else None
            for name in ("inception4a", "inception4d")
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes) if num_classes else None
        self._initialize()

    def _initialize(self) -> None:
        """He initialisation: by outputs behind batch normalisation, by inputs where the signal must keep its size."""
        mode: Literal["fan_out", "fan_in"] = "fan_out" if self.variant.batch_norm else "fan_in"
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Computes every stage of the trunk.

        Args:
            images: (B, 3, H, W), normalised RGB.

        Returns:
            Stage name -> (B, channels, H / stride, W / stride), for every entry of ``stages``. Sides that the stride
            does not divide are rounded up or down by the pools; of the batch-normalised network as in torchvision.
        """
        pool_before = {"inception3a": self.maxpool2, "inception4a": self.maxpool3, "inception5a": self.maxpool4}
        stem, *blocks = self.stages
        x = self.response_norm(self.maxpool1(self.conv1(images)))
        x = self.response_norm(self.conv3(self.conv2(x)))
        by_stage = {stem.name: x}
        for stage in blocks:
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

"""One member of the crop form: a whole GoogLeNet that names a warped region.

Legend: R regions, C classes, S side of a crop.
"""

from __future__ import annotations

from torch import Tensor, nn

from backbone.googlenet import GoogLeNet
from backbone.normalization import ColourNormalization
from detection.ensemble import EnsembleOutput

DROPOUT = 0.4
"""Before the last layer, as in the paper (1409.4842, section 5)."""


class CropClassifier(nn.Module):
    """The trunk of GoogLeNet, its average pool, and a layer for C classes and background.

    Args:
        backbone: GoogLeNet without a classifier.
        num_classes: C.
        box_regression: Whether it also refines the box, per class; the entry did not.
    """

    def __init__(self, backbone: GoogLeNet, num_classes: int, *, box_regression: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = backbone
        self.normalize = ColourNormalization()
        self.dropout = nn.Dropout(DROPOUT)
        self.logits = _linear(backbone.stages[-1].channels, num_classes + 1, std=0.01)
        self.offsets = _linear(backbone.stages[-1].channels, num_classes * 4, std=0.001) if box_regression else None

    def forward(self, crops: Tensor) -> EnsembleOutput:
        """(R, 3, S, S) RGB in [0, 255] -> the answers of an ensemble of one, float32: (1, R, C + 1), (1, R, C, 4)."""
        dtype = self.backbone.conv1.conv.weight.dtype  # bfloat16 in a prepared detector
        by_stage = self.backbone.features(self.normalize(crops, dtype))
        pooled = self.dropout(by_stage[self.backbone.stages[-1].name].mean(dim=(2, 3)))
        logits = self.logits(pooled).float()[None]
        if self.offsets is None:
            return EnsembleOutput(logits, None)
        return EnsembleOutput(logits, self.offsets(pooled).float().reshape(1, -1, self.num_classes, 4))


def _linear(in_features: int, out_features: int, *, std: float) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer

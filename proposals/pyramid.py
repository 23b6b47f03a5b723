"""A light feature pyramid: one width for every level, each level told what the coarser ones saw.

"Feature Pyramid Networks" (1612.03144) with batch normalisation. Legend: B images, L levels, F channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from backbone.googlenet import Stage
from backbone.inception import ConvUnit


class FeaturePyramid(nn.Module):
    """Lateral 1x1 convolutions, a top-down path and a 3x3 convolution per level.

    Args:
        stages: L backbone stages, finest first; each stride twice the one before.
        channels: F.
    """

    def __init__(self, stages: Sequence[Stage], channels: int) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.laterals = nn.ModuleList(ConvUnit(stage.channels, channels, 1) for stage in stages)
        self.outputs = nn.ModuleList(ConvUnit(channels, channels, 3) for _ in stages)

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Stage name -> (B, Cin, H/stride, W/stride) in, L maps (B, F, H/stride, W/stride) out, finest first."""
        merged = [lateral(features[stage.name]) for lateral, stage in zip(self.laterals, self.stages, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            coarser = nn.functional.interpolate(merged[level + 1], size=merged[level].shape[-2:], mode="nearest")
            merged[level] = merged[level] + coarser
        return [output(level) for output, level in zip(self.outputs, merged, strict=True)]

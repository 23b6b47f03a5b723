"""A light feature pyramid: one width for every level, each level told what the coarser ones saw.

"Feature Pyramid Networks" (1612.03144), with batch normalisation and rectification, while the paper has neither
(section 3: "no non-linearities in these extra layers"). Legend: B images, L levels, F channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from backbone.googlenet import Stage
from backbone.inception import ConvUnit


class FeaturePyramid(nn.Module):
    """Lateral 1x1 convolutions, a top-down path and a 3x3 convolution per level.

    Regions may be pooled from a finer level than objects are searched on. That one is told what the finest searched
    level saw, and has no 3x3 convolution: it would cost as much as those of all others together, three times over.

    Args:
        stages: Backbone stages of the L levels, finest first; each stride twice the one before.
        channels: F.
        fine: Stage of the level for pooling alone, with half the finest stride; None for no such level.
    """

    def __init__(self, stages: Sequence[Stage], channels: int, *, fine: Stage | None = None) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.laterals = nn.ModuleList(ConvUnit(stage.channels, channels, 1) for stage in stages)
        self.outputs = nn.ModuleList(ConvUnit(channels, channels, 3) for _ in stages)
        self.fine_stage = fine
        self.fine_lateral = None if fine is None else ConvUnit(fine.channels, channels, 1)

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Stage name -> (B, Cin, H/stride, W/stride) in, maps (B, F, H/stride, W/stride) out, finest first.

        There are L, and one more in front where there is a level for pooling alone.
        """
        merged = [lateral(features[stage.name]) for lateral, stage in zip(self.laterals, self.stages, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            merged[level] = _add_coarser(merged[level], merged[level + 1])
        levels = [output(level) for output, level in zip(self.outputs, merged, strict=True)]
        if self.fine_lateral is None or self.fine_stage is None:
            return levels
        return [_add_coarser(self.fine_lateral(features[self.fine_stage.name]), levels[0]), *levels]


def _add_coarser(level: Tensor, coarser: Tensor) -> Tensor:
    return level + nn.functional.interpolate(coarser, size=level.shape[-2:], mode="nearest")

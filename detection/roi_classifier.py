"""What is in each region: pooled pyramid features, a small trunk, and the ensemble on top.

Legend: B images, L pyramid levels, F pyramid channels, R RoIs of the batch, M members, C classes, T contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backbone.inception import ConvUnit
from detection.ensemble import EnsembleOutput, MemberHeads
from detection.roi_pooling import pool_rois
from proposals.box_ops import enlarge

CONV_WIDTH = 128
"""Channels of the convolution on the pooled grid."""

FILLED_TO = 25
"""Detection judges regions in multiples of this, the last ones of zeros: a number of them that comes for the first time
costs 8 ms, for setting up its matrix products (docs/decisions.md, 53)."""


@dataclass(frozen=True)
class RoiClassifierSettings:
    """Sizes of the region classifier.

    Attributes:
        members: M.
        contexts: T factors by which a region is enlarged before pooling.
        pool_size: Side of the pooled grid.
        hidden: Units that the trunk hands to the members.
        member_hidden: Units of each member's own hidden layer.
        box_regression: Whether members also refine the box, per class.
    """

    members: int
    contexts: tuple[float, ...]
    pool_size: int
    hidden: int
    member_hidden: int
    box_regression: bool


class RoiClassifier(nn.Module):
    """Pools every region, once per context, and lets an ensemble of small heads judge it.

    Members are dealt out to the contexts in turn: member m sees the region enlarged by ``contexts[m % T]``.

    Args:
        channels: F.
        num_classes: C.
        strides: L strides of the pyramid.
        settings: Sizes.
    """

    def __init__(
        self, channels: int, num_classes: int, *, strides: Sequence[int], settings: RoiClassifierSettings
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.contexts = settings.contexts
        self.strides = tuple(strides)
        self.pool_size = settings.pool_size
        reduced = (settings.pool_size + 1) // 2
        # A stride of 2 keeps the fine sampling of the pool at a quarter of the cost of a dense convolution.
        self.conv = ConvUnit(channels, CONV_WIDTH, 3, stride=2)
        nn.init.kaiming_normal_(self.conv.conv.weight, mode="fan_out", nonlinearity="relu")
        self.trunk = nn.Linear(CONV_WIDTH * reduced * reduced, settings.hidden)
        self.heads = MemberHeads(
            settings.hidden,
            num_classes,
            members=settings.members,
            hidden=settings.member_hidden,
            box_regression=settings.box_regression,
        )

    def forward(self, pyramid: Sequence[Tensor], boxes_per_image: Sequence[Tensor]) -> EnsembleOutput:
        """L maps (B, F, H, W) and B tensors (Ri, 4) -> logits (M, R, C + 1) and offsets (M, R, C, 4), float32."""
        filled_to = 1 if self.training else FILLED_TO  # in training zeros would count in the normalisation
        pooled = [
            pool_rois(
                pyramid,
                [enlarge(boxes, context) for boxes in boxes_per_image],
                strides=self.strides,
                pool_size=self.pool_size,
                filled_to=filled_to,
            )
            for context in self.contexts
        ]
        logits, offsets = self.judge(self.describe(pooled[0] if len(pooled) == 1 else torch.cat(pooled)))
        num_rois = sum(len(boxes) for boxes in boxes_per_image)
        return EnsembleOutput(logits[:, :num_rois], None if offsets is None else offsets[:, :num_rois])

    def describe(self, pooled: Tensor) -> Tensor:
        """Pooled features (N, F, S, S) in any order -> what the members see of each, (N, hidden)."""
        return torch.relu(self.trunk(self.conv(pooled).flatten(1)))

    def judge(self, features: Tensor) -> EnsembleOutput:
        """Described regions (T R, hidden), context after context -> what ``forward`` answers."""
        by_context = features.reshape(len(self.contexts), -1, features.shape[1])
        output: EnsembleOutput = self.heads(by_context)
        return output

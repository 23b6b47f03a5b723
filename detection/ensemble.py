"""The ensemble: several small heads on shared features, computed as one batched product.

The entry has six whole networks judge each region (1409.4842, section 8, which does not say how they are combined; for
classification, section 7 averages their probabilities); here the members share everything up to the region's
features and differ in their start, in the context they see and in the samples they learn from, so that six cost
little more than one. Legend: M members, T contexts, R RoIs, D features of an RoI, C classes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class EnsembleOutput(NamedTuple):
    """What every member says: logits (M, R, C + 1), background last, and offsets (M, R, C, 4) or None."""

    logits: Tensor
    offsets: Tensor | None


class MemberHeads(nn.Module):
    """M two-layer heads side by side.

    Args:
        in_features: D.
        num_classes: C.
        members: M.
        hidden: Units of each member's hidden layer.
        box_regression: Whether members refine boxes.
    """

    def __init__(self, in_features: int, num_classes: int, *, members: int, hidden: int, box_regression: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.hidden_weight = nn.Parameter(torch.randn(members, in_features, hidden) * math.sqrt(2 / in_features))
        self.hidden_bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.logit_weight = nn.Parameter(torch.randn(members, hidden, num_classes + 1) * 0.01)
        self.logit_bias = nn.Parameter(torch.zeros(members, 1, num_classes + 1))
        self.offset_weight: nn.Parameter | None = None
        self.offset_bias: nn.Parameter | None = None
        if box_regression:
            self.offset_weight = nn.Parameter(torch.randn(members, hidden, num_classes * 4) * 0.001)
            self.offset_bias = nn.Parameter(torch.zeros(members, 1, num_classes * 4))

    @property
    def members(self) -> int:
        """M."""
        return len(self.hidden_weight)

    def forward(self, features: Tensor) -> EnsembleOutput:
        """(T, R, D): member m reads context m % T -> logits and offsets in float32."""
        by_member = features[torch.arange(self.members, device=features.device) % len(features)]  # (M, R, D)
        hidden = torch.relu(torch.bmm(by_member, self.hidden_weight) + self.hidden_bias)
        logits = (torch.bmm(hidden, self.logit_weight) + self.logit_bias).float()
        if self.offset_weight is None or self.offset_bias is None:
            return EnsembleOutput(logits, None)
        offsets = (torch.bmm(hidden, self.offset_weight) + self.offset_bias).float()
        return EnsembleOutput(logits, offsets.reshape(self.members, -1, self.num_classes, 4))


def mean_probabilities(logits: Tensor) -> Tensor:
    """Averages the members in probability space (section 7): (M, R, C + 1) -> (R, C + 1), rows sum to 1."""
    return logits.softmax(dim=-1).mean(dim=0)


def mean_offsets(offsets: Tensor) -> Tensor:
    """Averages the members' box refinements: (M, R, C, 4) -> (R, C, 4)."""
    return offsets.mean(dim=0)


def draw_member_samples(members: int, num_rois: int, *, fraction: float, generator: torch.Generator) -> Tensor:
    """Which RoIs each member learns from: (M, R) bool, each true with probability ``fraction``."""
    return torch.rand(members, num_rois, generator=generator) < fraction

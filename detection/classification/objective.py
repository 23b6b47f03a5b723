"""What a classifier learns from. Legend: B images, C classes, S side."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from backbone.googlenet import GoogLeNet
from backbone.normalization import ColourNormalization
from detection.chance import StepChance


class ClassificationObjective(nn.Module):
    """Network and losses as one module, so that a distributed wrapper sees a single forward pass.

    Args:
        network: With a classifier.
        label_smoothing: Probability that the target shares out to all classes.
        auxiliary_weight: Weight of each auxiliary classifier's loss; 0.3 in the paper (1409.4842, section 5).
    """

    def __init__(self, network: GoogLeNet, *, label_smoothing: float, auxiliary_weight: float) -> None:
        super().__init__()
        self.network = network
        self.normalize = ColourNormalization()
        self.label_smoothing = label_smoothing
        self.auxiliary_weight = auxiliary_weight

    def forward(self, images: Tensor, labels: Tensor, chance: StepChance) -> dict[str, Tensor]:
        """One training pass.

        Args:
            images: (B, 3, S, S) uint8 RGB.
            labels: (B,) int64 in [0, C).
            chance: Not used: only dropout is random here.

        Returns:
            Name -> weighted scalar loss; their sum is the objective.
        """
        output = self.network(self.normalize(images, torch.float32))
        losses = {"class": self._loss(output.logits, labels)}
        for name, logits in (("aux1", output.aux1_logits), ("aux2", output.aux2_logits)):
            if logits is not None:
                losses[name] = self.auxiliary_weight * self._loss(logits, labels)
        return losses

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)

"""Records of the proposal stage. Legend: B images, K priors, P proposals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class MultiBoxOutput(NamedTuple):
    """What the MultiBox head says about every prior: objectness logits (B, K) and offsets (B, K, 4), float32."""

    logits: Tensor
    offsets: Tensor


@dataclass(frozen=True)
class Proposals:
    """Class-agnostic boxes of one image, best first.

    Attributes:
        boxes: (P, 4) float32 xyxy, pixels of the image whose size is ``image_size_hw``, inside it.
        scores: (P,) float32 objectness in [0, 1], descending.
        image_size_hw: Height and width: inside the network those of its input without padding, outside those of the
            original image.
    """

    boxes: Tensor
    scores: Tensor
    image_size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.scores), 4):
            raise ValueError(f"boxes must have shape ({len(self.scores)}, 4), got {tuple(self.boxes.shape)}")

    def __len__(self) -> int:
        return len(self.boxes)

    def best(self, count: int) -> Proposals:
        """The first ``count``, or all if there are fewer; a copy, so that the others can be forgotten."""
        return replace(self, boxes=self.boxes[:count].clone(), scores=self.scores[:count].clone())

    def to(self, device: torch.device) -> Proposals:
        """Returns the same proposals on ``device``."""
        return replace(self, boxes=self.boxes.to(device), scores=self.scores.to(device))

"""What every detector offers, whether one network in one pass or several passes put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from detection.preprocess import Image
from detection.structures import Detections


class ImageDetector(Protocol):
    """Finds objects in images; ``Detector`` is the simplest, the others are made around it.

    Proposals are not part of it: they belong to one pass of one network.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names; a detection's label indexes into them."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """C ids of the training data."""

    @property
    def device(self) -> torch.device:
        """Where it computes; the detections are on the CPU."""

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        """(H, W, 3) uint8 RGB images of any sizes -> detections in the pixels of each; the same as one by one."""

"""What every detector offers: one network in one pass, an exported file, or several passes put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from detection.preprocess import Image
from detection.structures import Detections


class ImageDetector(Protocol):
    """Finds objects in images; ``Detector`` is the simplest, the others are made around it.

    Several threads may ask one at once.

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


class ModelDetector(ImageDetector, Protocol):
    """One trained model in one pass, whichever engine runs it."""

    @property
    def precision(self) -> torch.dtype:
        """Of the layers."""

    @property
    def max_detections(self) -> int:
        """Detections of an image at most."""

    @property
    def thresholds(self) -> Mapping[str, tuple[float | None, ...]]:
        """Kind of ``detection.calibration.THRESHOLDS`` -> lowest score of each class; empty where not calibrated."""

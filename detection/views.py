"""One image seen in several ways by one model: mirrored, and larger."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import torch

from detection.detector import Detector
from detection.image_detector import ImageDetector
from detection.preprocess import PAD_MULTIPLE, Image
from detection.structures import Detections

SCALE = 1.25
"""Size of the second look, relative to the model's own input: small objects gain, large ones still fit the priors."""


class FlippedDetector:
    """Shows another detector the mirror image, left for right, and turns its boxes back.

    Args:
        inner: The other detector.
    """

    def __init__(self, inner: ImageDetector) -> None:
        self.inner = inner
        self.class_names = inner.class_names
        self.category_ids = inner.category_ids
        self.device = inner.device

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        """(H, W, 3) uint8 RGB images of any sizes -> detections in the pixels of each, as it stands."""
        mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        return [flip_detections(found) for found in self.inner.detect_images(mirrored)]


def flip_detections(found: Detections) -> Detections:
    """Mirrors boxes left for right: x1, x2 -> W - x2, W - x1. Its own inverse."""
    width = found.image_size_hw[1]
    left, top, right, bottom = found.boxes.unbind(dim=1)
    return replace(found, boxes=torch.stack([width - right, top, width - left, bottom], dim=1))


def augmented_views(detector: Detector) -> list[ImageDetector]:
    """A model's own view, its mirror image, and both at a larger input: 2 + 2 * 1.25^2, about 5 times the work.

    Args:
        detector: The model; it stays as it is, and the views share its network.
    """
    larger = copy(detector)
    larger.longest_side = _scaled_side(detector.longest_side)
    return [view for size in (detector, larger) for view in (size, FlippedDetector(size))]


def _scaled_side(longest_side: int) -> int:
    """``SCALE`` times the input, rounded up to what needs no padding."""
    return -(-int(longest_side * SCALE) // PAD_MULTIPLE) * PAD_MULTIPLE

"""The one place that knows albumentations: random views of a training image, with its boxes or without.

Legend: G ground truths, H/W size of the view.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detection.data.scene import View, box_areas
from detection.preprocess import PAD_COLOUR, Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # Its import would ask the network for a newer version.
import albumentations as A

SHIFT = 0.1
"""A zoomed view is also shifted by up to this share of its sides."""

COLOUR_PROBABILITY = 0.8
"""Share of the views whose colours change."""


@dataclass(frozen=True)
class AugmentSettings:
    """How far a training view may stray from the image.

    Attributes:
        horizontal_flip: Probability of mirroring left to right.
        vertical_flip: Probability of mirroring top to bottom; for data without an "up" (cells, aerial images).
        scale: Range of the zoom, 1 being the whole image; a range other than (1, 1) also shifts the view by ``SHIFT``.
        brightness: Greatest relative change.
        contrast: Greatest relative change.
        saturation: Greatest relative change.
        hue: Greatest change as a share of the colour circle.
    """

    horizontal_flip: float
    vertical_flip: float
    scale: tuple[float, float]
    brightness: float
    contrast: float
    saturation: float
    hue: float


class Augmentation:
    """Draws one random view; the same seed gives the same view.

    Args:
        settings: How far views may stray.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        colour = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
        transforms: list[A.BasicTransform] = [
            A.HorizontalFlip(p=settings.horizontal_flip),
            A.VerticalFlip(p=settings.vertical_flip),
        ]
        if settings.scale != (1.0, 1.0):
            transforms.append(
                A.Affine(
                    scale=settings.scale, translate_percent=(-SHIFT, SHIFT), keep_ratio=True, fill=PAD_COLOUR, p=1.0
                )
            )
        if any(colour):
            transforms.append(
                A.ColorJitter(
                    brightness=_around_one(colour[0]),
                    contrast=_around_one(colour[1]),
                    saturation=_around_one(colour[2]),
                    hue=(-colour[3], colour[3]),
                    p=COLOUR_PROBABILITY,
                )
            )
        boxes = A.BboxParams(
            format="pascal_voc",
            label_fields=["rows"],
            clip=True,
            filter_invalid_bboxes=True,
        )
        self._compose = A.Compose(transforms, bbox_params=boxes, save_applied_params=True)

    def __call__(self, image: Image, boxes: npt.NDArray[np.float32], *, seed: int) -> View:
        """Draws a view of the size of the image.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (G, 4) xyxy pixels.
            seed: Decides the view.
        """
        # One stream for all transforms: given only a seed, each would draw the same numbers as the others.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        view = self._compose(image=image, bboxes=boxes, rows=np.arange(len(boxes)))
        kept = np.asarray(view["bboxes"], dtype=np.float32).reshape(-1, 4)
        rows = np.asarray(view["rows"], dtype=np.int64)
        zoom = next((p["scale"]["x"] for name, p in view["applied_transforms"] if name == "Affine"), 1.0)
        visible = np.minimum(box_areas(kept) / (box_areas(boxes[rows]) * zoom**2), 1)
        return View(view["image"], kept, rows, visible.astype(np.float32))


@dataclass(frozen=True)
class CropSettings:
    """How a classifier's training views differ from the image (1409.4842, section 6).

    Attributes:
        min_area: Smallest share of the image's area; the largest is all of it.
        aspect: Views are at most so much wider or higher than a square; 4/3 in the paper.
        random_interpolation: Linear, area, nearest or cubic, at equal odds, instead of linear always.
        horizontal_flip: Probability of mirroring left to right.
        brightness: Greatest relative change.
        contrast: Greatest relative change.
        saturation: Greatest relative change.
    """

    min_area: float
    aspect: float
    random_interpolation: bool
    horizontal_flip: float
    brightness: float
    contrast: float
    saturation: float


_INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_CUBIC)


class CropAugmentation:
    """Draws a random square view of an image; the same seed gives the same view.

    Args:
        settings: How far views may stray.
        side: Of the view, in pixels.
    """

    def __init__(self, settings: CropSettings, side: int) -> None:
        s = settings
        crops = [
            A.RandomResizedCrop(
                (side, side),
                scale=(s.min_area, 1.0),
                ratio=(1 / s.aspect, s.aspect),
                interpolation=interpolation,
                area_for_downscale=None,
                p=1.0,
            )
            for interpolation in (_INTERPOLATIONS if s.random_interpolation else _INTERPOLATIONS[:1])
        ]
        transforms: list[A.BasicTransform | A.OneOf] = [
            A.OneOf(crops, p=1.0) if s.random_interpolation else crops[0],
            A.HorizontalFlip(p=s.horizontal_flip),
        ]
        if any((s.brightness, s.contrast, s.saturation)):
            ranges = [_around_one(amount) for amount in (s.brightness, s.contrast, s.saturation)]
            transforms.append(A.ColorJitter(*ranges, hue=(0.0, 0.0), p=COLOUR_PROBABILITY))
        self._compose = A.Compose(transforms)

    def __call__(self, image: Image, *, seed: int) -> Image:
        """Draws a view: (h, w, 3) uint8 RGB -> (side, side, 3)."""
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return np.asarray(self._compose(image=image)["image"], dtype=np.uint8)


def _around_one(amount: float) -> tuple[float, float]:
    return max(0.0, 1.0 - amount), 1.0 + amount

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

from detection.data.colour import ColourSettings, draw_change
from detection.data.scene import View, box_areas
from detection.preprocess import PAD_COLOUR, Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # Its import would ask the network for a newer version.
import albumentations as A

SHIFT = 0.1
"""A zoomed view is also shifted by up to this share of its sides."""


@dataclass(frozen=True)
class AugmentSettings:
    """How far a training view may stray from the image.

    Attributes:
        horizontal_flip: Probability of mirroring left to right.
        vertical_flip: Probability of mirroring top to bottom; for data without an "up" (cells, aerial images).
        scale: Range of the zoom, 1 being the whole image; a range other than (1, 1) also shifts the view by ``SHIFT``.
        colour: How far colours may stray.
    """

    horizontal_flip: float
    vertical_flip: float
    scale: tuple[float, float]
    colour: ColourSettings


class Augmentation:
    """Draws one random view; the same seed gives the same view.

    Args:
        settings: How far views may stray.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        self._colour = settings.colour
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
        # One stream for all: given only a seed, each transform would draw the same numbers as the others.
        generator = np.random.default_rng(seed)
        recolour = draw_change(self._colour, generator)
        self._compose.set_random_state(generator, random.Random(seed))
        view = self._compose(image=image, bboxes=boxes, rows=np.arange(len(boxes)))
        pixels = view["image"] if recolour is None else recolour(view["image"])
        kept = np.asarray(view["bboxes"], dtype=np.float32).reshape(-1, 4)
        rows = np.asarray(view["rows"], dtype=np.int64)
        zoom = next((p["scale"]["x"] for name, p in view["applied_transforms"] if name == "Affine"), 1.0)
        visible = np.minimum(box_areas(kept) / (box_areas(boxes[rows]) * zoom**2), 1)
        return View(pixels, kept, rows, visible.astype(np.float32))


@dataclass(frozen=True)
class CropSettings:
    """How a classifier's training views differ from the image (1409.4842, section 6).

    Attributes:
        min_area: Smallest share of the image's area; the largest is all of it.
        aspect: Views are at most this many times wider than high, or higher than wide; 4/3 in the paper.
        random_interpolation: Linear, area, nearest or cubic, at equal odds, instead of linear always.
        horizontal_flip: Probability of mirroring left to right.
        colour: How far colours may stray.
    """

    min_area: float
    aspect: float
    random_interpolation: bool
    horizontal_flip: float
    colour: ColourSettings


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
        self._colour = s.colour
        self._compose = A.Compose(transforms)

    def __call__(self, image: Image, *, seed: int) -> Image:
        """Draws a view: (h, w, 3) uint8 RGB -> (side, side, 3)."""
        generator = np.random.default_rng(seed)
        recolour = draw_change(self._colour, generator)
        self._compose.set_random_state(generator, random.Random(seed))
        view = np.asarray(self._compose(image=image)["image"], dtype=np.uint8)
        return view if recolour is None else recolour(view)

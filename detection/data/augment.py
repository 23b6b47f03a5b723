"""The one place that knows albumentations: random views of a training image with its boxes.

Legend: G ground truths, H/W size of the view.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # Its import would ask the network for a newer version.
import albumentations as A

MIN_VISIBLE = 0.3
"""An object of which less than this share is left in the view is no longer trained on."""

FILL = (124, 116, 104)


@dataclass(frozen=True)
class AugmentSettings:
    """How far a training view may stray from the image.

    Attributes:
        horizontal_flip: Probability of mirroring left to right.
        vertical_flip: Probability of mirroring top to bottom; for data without an "up" (cells, aerial images).
        scale: Range of the zoom, 1 being the whole image.
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
                A.Affine(scale=settings.scale, translate_percent=(-0.1, 0.1), keep_ratio=True, fill=FILL, p=1.0)
            )
        if any(colour):
            transforms.append(
                A.ColorJitter(
                    brightness=_around_one(colour[0]),
                    contrast=_around_one(colour[1]),
                    saturation=_around_one(colour[2]),
                    hue=(-colour[3], colour[3]),
                    p=0.8,
                )
            )
        boxes = A.BboxParams(
            format="pascal_voc",
            label_fields=["rows"],
            min_visibility=MIN_VISIBLE,
            clip=True,
            filter_invalid_bboxes=True,
        )
        self._compose = A.Compose(transforms, bbox_params=boxes)

    def __call__(
        self, image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], *, seed: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Draws a view of the same size.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (G, 4) xyxy pixels.
            seed: Decides the view.

        Returns:
            The view, the boxes that are still visible (G', 4), clipped to it, and their rows in ``boxes`` (G',).
        """
        self._compose.set_random_seed(seed)
        view = self._compose(image=image, bboxes=boxes, rows=np.arange(len(boxes)))
        kept = np.asarray(view["bboxes"], dtype=np.float32).reshape(-1, 4)
        return view["image"], kept, np.asarray(view["rows"], dtype=np.int64)


def _around_one(amount: float) -> tuple[float, float]:
    return max(0.0, 1.0 - amount), 1.0 + amount

"""Random changes of an image's colours as one linear map: brightness, contrast, saturation and hue at once.

All four are linear in red, green and blue, so one pass over the pixels does them, and nothing is cut off in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detection.preprocess import Image

PROBABILITY = 0.8
"""Share of the views whose colours change."""

_GREY = np.array([0.299, 0.587, 0.114])
_GREYS, _SAME = np.outer(np.ones(3), _GREY), np.eye(3)
# Of ITU-R BT.601: luma, and the two axes of chroma whose plane the hue turns in.
_YIQ = np.array([_GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


@dataclass(frozen=True)
class ColourSettings:
    """How far colours may stray.

    Attributes:
        brightness: Greatest relative change.
        contrast: Greatest relative change, about the image's mean grey.
        saturation: Greatest relative change, about each pixel's grey.
        hue: Greatest change as a share of the colour circle.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float = 0.0

    @property
    def still(self) -> bool:
        """Whether nothing ever changes."""
        return not (self.brightness or self.contrast or self.saturation or self.hue)


@dataclass(frozen=True)
class ColourChange:
    """One drawn change: factors of brightness, contrast and saturation, 1 being none, and a share of the circle."""

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __call__(self, image: Image) -> Image:
        """Changes an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            A new one of that shape, rounded and cut off at 0 and 255.
        """
        mix = self.saturation * _SAME + (1 - self.saturation) * _GREYS
        if self.hue:
            mix = _rotation(self.hue) @ mix
        transform = np.empty((3, 4))
        transform[:, :3] = self.contrast * self.brightness * mix
        # Grey stays grey under the mix, so the grey that contrast pulls to can be added behind it.
        transform[:, 3] = (1 - self.contrast) * self.brightness * (_GREY @ cv2.mean(image)[:3])
        return cv2.transform(image, transform)  # type: ignore[return-value]


def draw_change(settings: ColourSettings, generator: np.random.Generator) -> ColourChange | None:
    """Draws how the colours of one view change; None leaves them as they are.

    It always draws five numbers, so that what is drawn after it does not depend on the settings.
    """
    chance, *amounts = generator.random(5)
    if settings.still or chance >= PROBABILITY:
        return None
    brightness, contrast, saturation, hue = 2 * np.array(amounts) - 1
    return ColourChange(
        max(0.0, 1 + settings.brightness * brightness),
        max(0.0, 1 + settings.contrast * contrast),
        max(0.0, 1 + settings.saturation * saturation),
        settings.hue * hue,
    )


def _rotation(share: float) -> npt.NDArray[np.float64]:
    """(3, 3): turns the hue of RGB by a share of the circle; greys stay."""
    angle = 2 * np.pi * share
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]  # from red to yellow
    return _RGB @ turn @ _YIQ

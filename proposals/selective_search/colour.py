"""Colour spaces of selective search, all stretched to 0..255 (Uijlings et al. 2013, section 3.2).

Legend: S planes of a colour space, 1 or 3.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from proposals.selective_search.settings import ColourSpace

Image = npt.NDArray[np.uint8]


def to_colour_space(image: Image, colour_space: ColourSpace) -> Image:
    """Planes of a picture in another colour space.

    * ``rgb``: as it is.
    * ``hsv``: 256 steps of hue make the full circle, so red lies at both ends of the range. The released code cuts
      the circle there too.
    * ``lab``: L * 255 / 100, a + 128, b + 128.
    * ``rgi``: the shares of red and green in R + G + B, and the intensity. Black has the shares of grey.
    * ``hue``: the first plane of ``hsv``.
    * ``intensity``: 0.299 R + 0.587 G + 0.114 B.

    Args:
        image: (H, W, 3) uint8 RGB, contiguous, H and W at least 1.
        colour_space: Its name.

    Returns:
        (H, W, S) uint8 over the whole range; S is 1 for ``hue`` and ``intensity``, else 3.
    """
    return _CONVERTERS[colour_space](image)


def _convert(image: Image, code: int) -> Image:
    return np.asarray(cv2.cvtColor(image, code), dtype=np.uint8).reshape(*image.shape[:2], -1)


def _to_rgi(image: Image) -> Image:
    total = image.sum(axis=2, dtype=np.float32)
    shares = 255 * image[..., :2].astype(np.float32) / np.maximum(total, 1)[..., None]
    shares[total == 0] = 255 / 3
    return np.concatenate([np.rint(shares).astype(np.uint8), _convert(image, cv2.COLOR_RGB2GRAY)], axis=2)


_CONVERTERS: dict[ColourSpace, Callable[[Image], Image]] = {
    "hsv": lambda image: _convert(image, cv2.COLOR_RGB2HSV_FULL),
    "lab": lambda image: _convert(image, cv2.COLOR_RGB2Lab),
    "rgi": _to_rgi,
    "hue": lambda image: _convert(image, cv2.COLOR_RGB2HSV_FULL)[..., :1],
    "intensity": lambda image: _convert(image, cv2.COLOR_RGB2GRAY),
    "rgb": lambda image: image,
}

"""Sizes of objects that are told apart: COCO's small, medium and large, or the user's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from detection.errors import InputError

Floats = npt.NDArray[np.float64]

MAX_AREA = 1e10
"""What no area reaches; pycocotools' own figure."""

_NAMES = {
    1: ("small", "large"),
    2: ("small", "medium", "large"),
    3: ("tiny", "small", "medium", "large"),
    4: ("tiny", "small", "medium", "large", "huge"),
}


@dataclass(frozen=True)
class SizeBands:
    """Bands of object size, from below.

    Attributes:
        bounds: One to four ascending bounds between the bands. In pixels: sides of a square of the object's area, in
            the original image. In percent: the object's share of the image area.
        unit: ``pixels`` or ``percent``.
    """

    bounds: tuple[float, ...] = (32.0, 96.0)
    unit: Literal["pixels", "percent"] = "pixels"

    def __post_init__(self) -> None:
        if len(self.bounds) not in _NAMES:
            raise ValueError(f"expected 1 to 4 bounds of size, got {len(self.bounds)}")
        # Asked this way round, so that NaN is refused too.
        if not all(low < high < math.inf for low, high in pairwise((0.0, *self.bounds))):
            raise ValueError(f"expected finite bounds of size above 0 and ascending, got {self._text(self.bounds)}")
        if self.unit == "percent" and self.bounds[-1] >= 100:
            raise ValueError(f"expected bounds below 100% of the image, got {self._text(self.bounds)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bands; their first letters differ."""
        return _NAMES[len(self.bounds)]

    @property
    def areas(self) -> dict[str, tuple[float, float]]:
        """Name -> lowest and highest size of the band, as ``measure`` gives it; both belong to it."""
        limits = [0.0, *(bound**2 if self.unit == "pixels" else bound for bound in self.bounds), MAX_AREA]
        return dict(zip(self.names, pairwise(limits), strict=True))

    def measure(self, areas: npt.NDArray[np.floating], image_areas: npt.NDArray[np.integer]) -> Floats:
        """Sizes of objects: (N,) areas in square pixels, or in percent of the (N,) areas of their images."""
        exact = areas.astype(np.float64)
        return exact if self.unit == "pixels" else 100 * exact / image_areas

    def extents(self) -> dict[str, str]:
        """Name -> which sizes the band holds, in words."""
        shown = [self._bound(bound) for bound in self.bounds]
        middle = [f"{low} to {high}" for low, high in pairwise(shown)]
        return dict(zip(self.names, [f"up to {shown[0]}", *middle, f"from {shown[-1]}"], strict=True))

    def _bound(self, bound: float) -> str:
        return f"{bound:g} x {bound:g} pixels" if self.unit == "pixels" else f"{bound:g}% of the image"

    def _text(self, bounds: tuple[float, ...]) -> str:
        return ", ".join(f"{bound:g}{'%' if self.unit == 'percent' else ''}" for bound in bounds)


def parse_bands(text: str) -> SizeBands:
    """Reads ``32,96`` (pixels) or ``1%,10%`` (of the image area).

    Raises:
        InputError: If it is something else, or the bounds do not ascend.
    """
    parts = [part.strip() for part in text.split(",")]
    percent = [part.endswith("%") for part in parts]
    try:
        if any(percent) and not all(percent):
            raise ValueError("expected all in pixels or all in percent")
        bounds = tuple(float(part.removesuffix("%")) for part in parts)
        return SizeBands(bounds, "percent" if all(percent) else "pixels")
    except ValueError as error:
        raise InputError(f"bands {text!r}: {error}; write 32,96 (pixels) or 1%,10% (of the image area)") from error

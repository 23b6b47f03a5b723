"""Mosaics: four images in one view ("YOLOv4", Bochkovskiy et al. 2020, 2004.10934).

Four quarters meet at a random point. Each shows its image scaled down, whole or a part of it, with the boxes that are
there. Albumentations has a mosaic too, but fixes the size of the view beforehand and does not tell how much of an
object is left. Legend: H/W size of the view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detection.chance import Stream
from detection.data.scene import Scene, View, cut, join_scenes
from detection.preprocess import PAD_COLOUR, Image

CENTRE = (0.3, 0.7)
"""The quarters meet in this range of the view's sides."""

ZOOM = (0.5, 1.0)
"""Range of an image's size in a mosaic, relative to its size alone."""


class MosaicDraw(NamedTuple):
    """Everything random about a mosaic, drawn before an image is read: a broken file changes its own quarter alone.

    Attributes:
        partners: Indices of the three images beside the view's own; any of the set, repeats included.
        zooms: Size of each of the four images, relative to its size alone.
        centre_yx: (2,) where the quarters meet, as shares of the view's height and width.
        places_yx: (4, 2) in [0, 1]: which part of an image its quarter shows, from the upper left (0) to the lower
            right (1); of an image that is smaller than its quarter, where it lies there.
    """

    partners: tuple[int, ...]
    zooms: tuple[float, ...]
    centre_yx: npt.NDArray[np.float64]
    places_yx: npt.NDArray[np.float64]


def draw_mosaic(seed: int, num_images: int, *, probability: float) -> MosaicDraw | None:
    """Draws whether a view is a mosaic, and which.

    Args:
        seed: Of the view.
        num_images: Size of the set.
        probability: Of a mosaic.

    Returns:
        None for a view of one image.
    """
    if probability == 0:  # the usual case, asked for every view
        return None
    rng = np.random.default_rng((seed, Stream.MOSAIC))
    if rng.random() >= probability:
        return None
    return MosaicDraw(
        partners=tuple(rng.integers(num_images, size=3).tolist()),
        zooms=tuple(rng.uniform(*ZOOM, size=4).tolist()),
        centre_yx=rng.uniform(*CENTRE, size=2),
        places_yx=rng.random((4, 2)),
    )


def put_together(scenes: Sequence[Scene], draw: MosaicDraw, size_hw: tuple[int, int]) -> Scene:
    """Puts four scenes into one view.

    Args:
        scenes: Upper left, upper right, lower left, lower right; each of the size that it shall have in the mosaic.
        draw: Where the quarters meet and what they show.
        size_hw: Height and width of the view.

    Returns:
        The mosaic with all boxes that are left. Equal ranks stand in the order of the quarters.
    """
    canvas = np.empty((*size_hw, 3), dtype=np.uint8)
    canvas[:] = PAD_COLOUR
    middle, centre = (round(side * share) for side, share in zip(size_hw, draw.centre_yx.tolist(), strict=True))
    quarters = [
        (left, top, right, bottom)
        for top, bottom in ((0, middle), (middle, size_hw[0]))
        for left, right in ((0, centre), (centre, size_hw[1]))
    ]
    parts = [
        scene.shown_in(_place(canvas, scene, quarter, place))
        for scene, quarter, place in zip(scenes, quarters, draw.places_yx, strict=True)
    ]
    return join_scenes(canvas, parts)


def _place(canvas: Image, scene: Scene, quarter: tuple[int, int, int, int], place_yx: npt.NDArray[np.float64]) -> View:
    """Copies into a quarter of the canvas, in place, what it shows of a scene; returns what is left of the boxes."""
    left, top, right, bottom = quarter
    height, width = scene.size_hw
    # The room is negative where the image is larger than the quarter: then it is shifted beyond the quarter's edges.
    y = top + round(float(place_yx[0]) * (bottom - top - height))
    x = left + round(float(place_yx[1]) * (right - left - width))
    left, top, right, bottom = max(left, x), max(top, y), min(right, x + width), min(bottom, y + height)
    canvas[top:bottom, left:right] = scene.image[top - y : bottom - y, left - x : right - x]
    return cut(scene.boxes + np.array([x, y, x, y], dtype=np.float32), (left, top, right, bottom), canvas)

"""The crops that a classifier sees of an image at test time (1409.4842, section 7).

Four scales, three squares of each, six views of each square and their mirror images: 4 * 3 * 6 * 2 = 144 crops. They
come in one order: the first is the centre crop, the first ten are the usual ten, so that one pass serves all.
Legend: S side of the network's input; N different crops of one image; K protocols (numbers of crops to average over).
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detection.preprocess import Image, resize

NUM_CROPS = (1, 10, 144)
"""The numbers of crops of the paper's table 3; each protocol takes the first ones of ``crop_places``."""

_PAPER_SIDE = 224
_PAPER_SHORTER_SIDES = (256, 288, 320, 352)


class Crops(NamedTuple):
    """The different crops of one image, and how much each counts.

    Crops that coincide occur once: of the 144 of a square image only 48 are different, as its three squares are one.

    Attributes:
        images: (N, S, S, 3) uint8 RGB, in the order of ``crop_places``.
        weights: (K, N) float64; row k averages over the first ``NUM_CROPS[k]`` crops, so each row sums to 1.
    """

    images: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float64]


class CropPlace(NamedTuple):
    """Where a crop lies: a square of the image scaled to ``shorter_side``, in its pixels, mirrored or not."""

    shorter_side: int
    left: int
    top: int
    side: int
    mirrored: bool


def scaled_sides(side: int) -> tuple[int, ...]:
    """Shorter sides of the four scales for a network's input of ``side`` pixels; 256, 288, 320, 352 for 224."""
    return tuple(round(side * shorter / _PAPER_SIDE) for shorter in _PAPER_SHORTER_SIDES)


def crop_places(size_hw: tuple[int, int], side: int) -> list[CropPlace]:
    """The 144 crops of an image, coinciding ones too; those of the smallest scale's centre square come first.

    Within a square: its centre and its four corners, the mirror images of these five, the whole square, its mirror
    image.

    Args:
        size_hw: Height and width of the image.
        side: Side S of the network's input; every crop is S pixels wide but the whole squares, which are scaled to S.
    """
    places = []
    for shorter_side in scaled_sides(side):
        for left, top in _square_corners(_scaled_size(size_hw, shorter_side)):
            slack = shorter_side - side
            corners = [(slack // 2, slack // 2), (0, 0), (slack, 0), (0, slack), (slack, slack)]
            parts = [CropPlace(shorter_side, left + x, top + y, side, False) for x, y in corners]
            whole = CropPlace(shorter_side, left, top, shorter_side, False)
            for views in (parts, [whole]):
                places += [*views, *(view._replace(mirrored=True) for view in views)]
    return places


def cut_crops(image: Image, side: int, num_crops: int = NUM_CROPS[-1]) -> Crops:
    """Cuts the first crops out of an image, each different one once.

    Args:
        image: (H, W, 3) uint8 RGB of any size; it is scaled up where it is small.
        side: Side S of the crops.
        num_crops: The greatest number of crops to average over, one of ``NUM_CROPS``.

    Returns:
        The crops, and the weights of every protocol of at most ``num_crops`` crops.

    Raises:
        ValueError: If ``num_crops`` is another number.
    """
    if num_crops not in NUM_CROPS:
        raise ValueError(f"num_crops must be one of {NUM_CROPS}, got {num_crops}")
    height, width = image.shape[:2]
    places = crop_places((height, width), side)[:num_crops]
    different = list(dict.fromkeys(places))
    scaled = {
        shorter: resize(image, _scaled_size((height, width), shorter))
        for shorter in {place.shorter_side for place in places}
    }
    images = np.stack([_cut(scaled[place.shorter_side], place, side) for place in different])
    counts = [(number, Counter(places[:number])) for number in NUM_CROPS if number <= num_crops]
    weights = [[count[place] / number for place in different] for number, count in counts]
    return Crops(images, np.array(weights))


def _scaled_size(size_hw: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    """Height and width after scaling the shorter side to ``shorter_side``."""
    height, width = size_hw
    scale = shorter_side / min(height, width)
    return round(height * scale), round(width * scale)


def _square_corners(size_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """Left and top of the centre square, the left or top one, and the right or bottom one."""
    height, width = size_hw
    if width >= height:
        return [((width - height) // 2, 0), (0, 0), (width - height, 0)]
    return [(0, (height - width) // 2), (0, 0), (0, height - width)]


def _cut(scaled: Image, place: CropPlace, side: int) -> Image:
    square = scaled[place.top : place.top + place.side, place.left : place.left + place.side]
    crop = resize(square, (side, side))
    return crop[:, ::-1] if place.mirrored else crop

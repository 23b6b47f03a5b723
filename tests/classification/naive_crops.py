"""The paper's sentence on test crops (1409.4842, section 7), word for word and in its own order, nothing left out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detection.preprocess import resize

Image = npt.NDArray[np.uint8]


def naive_crops(image: Image, side: int) -> list[Image]:
    """All 144 crops of an image, (side, side, 3) each; four scales, three squares, six views, two mirrorings."""
    crops = []
    for paper_scale in (256, 288, 320, 352):
        shorter = round(side * paper_scale / 224)
        scaled = scale(image, shorter)
        for square in squares(scaled, shorter):
            for view in [*fives(square, side), resize(square, (side, side))]:
                crops += [view, np.flip(view, axis=1)]
    return crops


def scale(image: Image, shorter: int) -> Image:
    """The image with its shorter side resized."""
    height, width = image.shape[:2]
    if height <= width:
        return resize(image, (shorter, round(width * (shorter / height))))
    return resize(image, (round(height * (shorter / width)), shorter))


def squares(scaled: Image, shorter: int) -> list[Image]:
    """Left, centre and right, or top, centre and bottom."""
    height, width = scaled.shape[:2]
    middle = (max(height, width) - shorter) // 2
    if width > height:
        return [scaled[:, :shorter], scaled[:, middle : middle + shorter], scaled[:, -shorter:]]
    return [scaled[:shorter], scaled[middle : middle + shorter], scaled[-shorter:]]


def fives(square: Image, side: int) -> list[Image]:
    """The four corners and the centre of a square."""
    middle = (len(square) - side) // 2
    centre = square[middle : middle + side, middle : middle + side]
    return [square[:side, :side], square[:side, -side:], square[-side:, :side], square[-side:, -side:], centre]

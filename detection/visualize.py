"""Boxes drawn onto images, for people.

Images are (H, W, 3) uint8 RGB. Colours depend on the label alone, so a class looks the same in every picture.
"""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from detection.preprocess import Image
from detection.structures import Detections, Target

Colour = tuple[int, int, int]

_GOLDEN_RATIO = 0.618034
_BLACK: Colour = (0, 0, 0)
_WHITE: Colour = (255, 255, 255)
_IGNORED: Colour = (150, 150, 150)


@dataclass(frozen=True)
class _Pen:
    """Sizes that suit one image: an image of 640 pixels gets lines of 2 and letters of about 11 pixels."""

    line_width: int
    font_scale: float
    font_width: int

    @classmethod
    def for_image(cls, image: Image) -> _Pen:
        """Scales with the longer side."""
        side = max(image.shape[:2])
        return cls(max(1, round(side / 320)), max(0.35, side / 1280), max(1, round(side / 900)))


def class_colour(label: int) -> Colour:
    """RGB colour of a class: steps of the golden ratio around the hue circle, so that neighbours differ most."""
    hue = (label * _GOLDEN_RATIO) % 1.0
    value = 0.95 if label % 2 == 0 else 0.75
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_detections(image: Image, detections: Detections, *, class_names: Sequence[str]) -> Image:
    """Draws detections, the best on top, each with its class and score.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        detections: Boxes in pixels of this image.
        class_names: Names by label.

    Returns:
        A new image of the same size. No detections give a plain copy.
    """
    canvas = image.copy()
    pen = _Pen.for_image(image)
    columns = zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    for box, score, label in sorted(columns, key=lambda row: row[1]):
        text = f"{_printable(class_names, label)} {score:.2f}"
        _draw_box(canvas, box, text=text, colour=class_colour(label), pen=pen)
    return canvas


def draw_targets(image: Image, target: Target, *, class_names: Sequence[str]) -> Image:
    """Draws the labelled objects of an image; ignored ones are grey.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        target: Boxes in pixels of this image.
        class_names: Names by label.

    Returns:
        A new image of the same size. No objects give a plain copy.
    """
    canvas = image.copy()
    pen = _Pen.for_image(image)
    for box, label, ignore in zip(target.boxes.tolist(), target.labels.tolist(), target.ignore.tolist(), strict=True):
        name = _printable(class_names, label)
        text, colour = (f"{name} (ignored)", _IGNORED) if ignore else (name, class_colour(label))
        _draw_box(canvas, box, text=text, colour=colour, pen=pen)
    return canvas


def _printable(class_names: Sequence[str], label: int) -> str:
    """The name of a class in ASCII, all that OpenCV's font has: café as cafe; its number where that cannot be."""
    folded = unicodedata.normalize("NFKD", class_names[label].replace("ß", "ss"))
    plain = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return plain if plain.isascii() else f"class {label}"


def _draw_box(canvas: Image, box: Sequence[float], *, text: str, colour: Colour, pen: _Pen) -> None:
    """Draws one half-open box in place; its last pixels are x2 - 1 and y2 - 1."""
    height, width = canvas.shape[:2]
    left, right = (int(np.clip(round(edge), 0, width)) for edge in (box[0], box[2]))
    top, bottom = (int(np.clip(round(edge), 0, height)) for edge in (box[1], box[3]))
    corner = (max(right - 1, left), max(bottom - 1, top))
    cv2.rectangle(canvas, (left, top), corner, colour, pen.line_width)
    _draw_text(canvas, text, corner=(left, top), colour=colour, pen=pen)


def _draw_text(canvas: Image, text: str, *, corner: tuple[int, int], colour: Colour, pen: _Pen) -> None:
    """Writes on a filled plate above the corner, moved inside the image where it would leave it."""
    height, width = canvas.shape[:2]
    (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, pen.font_scale, pen.font_width)
    plate_width, plate_height = text_width + 4, text_height + below + 2
    left = max(0, min(corner[0], width - plate_width))
    top = corner[1] - plate_height
    top = max(0, min(top if top >= 0 else corner[1], height - plate_height))
    cv2.rectangle(canvas, (left, top), (left + plate_width - 1, top + plate_height - 1), colour, cv2.FILLED)
    origin = (left + 2, top + text_height + 1)
    ink = _ink_on(colour)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, pen.font_scale, ink, pen.font_width, cv2.LINE_AA)


def _ink_on(colour: Colour) -> Colour:
    """Black or white, whichever reads better on ``colour`` (Rec. 601 luma)."""
    red, green, blue = colour
    return _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _WHITE

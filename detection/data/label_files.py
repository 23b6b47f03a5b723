"""How boxes are written in the label files of VOC and YOLO.

Boxes are float32 xyxy, half-open, in pixels of the image. What is read from a file is the same float32 again:

====  ===================================================================
YOLO  ``cx cy width height``, divided by image width and height
VOC   1-based inclusive: ``(x1 + 1, y1 + 1, x2, y2)``
====  ===================================================================
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

Box = Sequence[float]
"""Four numbers."""

_FORBIDDEN_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class NamedBox(NamedTuple):
    """An object of a VOC file: its class, its box, whether it is difficult, and the score of a detection."""

    name: str
    box: Box
    difficult: bool = False
    score: float | None = None


def write_voc_xml(path: Path, file_name: str, size_hw: tuple[int, int], objects: Iterable[NamedBox]) -> None:
    """Writes the annotation file of an image; whole edges are whole numbers, others decimal fractions."""
    root = ET.Element("annotation")
    _add(root, "filename", file_name)
    size = ET.SubElement(root, "size")
    for tag, number in (("width", size_hw[1]), ("height", size_hw[0]), ("depth", 3)):
        _add(size, tag, str(number))
    for name, (x1, y1, x2, y2), difficult, score in objects:
        item = ET.SubElement(root, "object")
        _add(item, "name", name)
        _add(item, "difficult", str(int(difficult)))
        if score is not None:
            _add(item, "score", shortest(score))
        corners = ET.SubElement(item, "bndbox")
        for tag, edge in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
            _add(corners, tag, str(int(edge)) if edge.is_integer() else repr(edge))
    tree = ET.ElementTree(root)
    ET.indent(tree)
    tree.write(path, encoding="utf-8")


def _add(parent: ET.Element, tag: str, text: str) -> None:
    """Appends a child element with text; characters that XML 1.0 forbids become spaces."""
    ET.SubElement(parent, tag).text = _FORBIDDEN_IN_XML.sub(" ", text)


def yolo_line(label: int, box: Box, size_hw: tuple[int, int]) -> str:
    """``label cx cy width height``, centre and size as shares of the image's width and height."""
    (x1, y1, x2, y2), (height, width) = box, size_hw
    shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join([str(label), *(np.format_float_positional(share, trim="0") for share in shares)])


def shortest(value: float) -> str:
    """Fewest decimals that give the same float32 again."""
    return np.format_float_positional(np.float32(value), trim="0")

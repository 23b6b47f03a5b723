"""Detections written for other tools: CSV, YOLO txt and VOC xml.

Boxes leave in the geometry of each format; the internal form is float32 xyxy, half-open, pixels of the original image:

====  ===================================================================
CSV   ``xmin, ymin, xmax, ymax`` as here, exact
YOLO  ``cx cy width height``, divided by image width and height, exact
VOC   1-based inclusive: ``(x1 + 1, y1 + 1, x2, y2)``, exact
====  ===================================================================

The same detections always give the same bytes, and a file is complete or not there at all.
"""

from __future__ import annotations

import csv
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from detection.atomic import atomic_path
from detection.predictions import ImageDetections, detection_rows

_LONGEST_NAME = 255
"""Bytes of a file's name that nearly every file system bears."""

CSV_HEADER = ("file_name", "class", "score", "xmin", "ymin", "xmax", "ymax")

_FORBIDDEN_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_csv(path: Path, images: Iterable[ImageDetections], *, class_names: Sequence[str]) -> None:
    """Writes one table of all detections, one row each, under ``CSV_HEADER``.

    Args:
        path: The file to write.
        images: The images in the order to be written; one without detections has no row.
        class_names: Names by label.
    """
    with (
        atomic_path(path) as draft,
        draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_HEADER)
        for image in images:
            for box, score, label in detection_rows(image.detections):
                numbers = [_shortest(value) for value in (score, *box)]
                writer.writerow([image.file_name, class_names[label], *numbers])


def write_yolo(
    out: Path, images: Iterable[ImageDetections], *, file_names: Sequence[str], class_names: Sequence[str]
) -> None:
    """Writes a ``.txt`` per image, ``class cx cy width height score`` a line, and ``classes.txt`` with the names.

    Args:
        out: The folder; subfolders follow the file names.
        images: The images, read one at a time; one without detections gets an empty file.
        file_names: Their names in the same order, needed at once to tell equal ones apart.
        class_names: Names by label.
    """
    paths = output_paths(out, file_names, suffix=".txt", reserved="classes.txt")
    for image, path in _with_paths(images, file_names, paths):
        height, width = image.detections.image_size_hw
        lines = []
        for (x1, y1, x2, y2), score, label in detection_rows(image.detections):
            numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            lines.append(" ".join([str(label), *map(_decimal, numbers), _shortest(score)]) + "\n")
        with atomic_path(path) as draft:
            draft.write_bytes("".join(lines).encode("ascii"))
    with atomic_path(out / "classes.txt") as draft:
        draft.write_bytes("".join(f"{' '.join(name.splitlines())}\n" for name in class_names).encode())


def write_voc(
    out: Path, images: Iterable[ImageDetections], *, file_names: Sequence[str], class_names: Sequence[str]
) -> None:
    """Writes a VOC ``.xml`` per image; each object has a ``score`` besides the usual elements.

    Coordinates are whole numbers where the box has whole edges, else decimal fractions.

    Args:
        out: The folder; subfolders follow the file names.
        images: The images, read one at a time; one without detections gets a file without objects.
        file_names: Their names in the same order, needed at once to tell equal ones apart.
        class_names: Names by label.
    """
    for image, path in _with_paths(images, file_names, output_paths(out, file_names, suffix=".xml")):
        tree = ET.ElementTree(_voc_element(image, class_names))
        ET.indent(tree)
        with atomic_path(path) as draft:
            tree.write(draft, encoding="utf-8")


def _with_paths(
    images: Iterable[ImageDetections], file_names: Sequence[str], paths: Sequence[Path]
) -> Iterator[tuple[ImageDetections, Path]]:
    """Each image with its path, one at a time."""
    for image, file_name, path in zip(images, file_names, paths, strict=True):
        if image.file_name != file_name:
            raise ValueError(f"expected image {file_name!r} as listed in file_names, got {image.file_name!r}")
        yield image, path


def _voc_element(image: ImageDetections, class_names: Sequence[str]) -> ET.Element:
    """The ``annotation`` element of one image."""
    root = ET.Element("annotation")
    height, width = image.detections.image_size_hw
    _add(root, "filename", image.file_name)
    size = ET.SubElement(root, "size")
    for tag, number in (("width", width), ("height", height), ("depth", 3)):
        _add(size, tag, str(number))
    for (x1, y1, x2, y2), score, label in detection_rows(image.detections):
        item = ET.SubElement(root, "object")
        _add(item, "name", class_names[label])
        _add(item, "difficult", "0")
        _add(item, "score", _shortest(score))
        corners = ET.SubElement(item, "bndbox")
        for tag, edge in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
            _add(corners, tag, str(int(edge)) if edge.is_integer() else repr(edge))
    return root


def _add(parent: ET.Element, tag: str, text: str) -> None:
    """Appends a child element with text; characters that XML 1.0 forbids become spaces."""
    ET.SubElement(parent, tag).text = _FORBIDDEN_IN_XML.sub(" ", text)


def _shortest(value: float) -> str:
    """Fewest decimals that give the same float32 again."""
    return np.format_float_positional(np.float32(value), trim="0")


def _decimal(value: float) -> str:
    """Fewest decimals that give the same double again, without an exponent."""
    return np.format_float_positional(value, trim="0")


def output_paths(out: Path, file_names: Sequence[str], *, suffix: str, reserved: str = "") -> list[Path]:
    """A path of its own below ``out`` for each image, whatever its name.

    The suffix of the image is replaced; where two names would then be the same (``a.jpg`` and ``a.png``), it stays:
    ``a.jpg.txt``. Names that still clash, or equal a folder of another, get a number, and those too long for a
    file system are cut.

    Args:
        out: The folder that no path leaves.
        file_names: Names relative to the image folder; "..", drives and leading slashes are dropped.
        suffix: Suffix of the written files.
        reserved: A name that is taken already.
    """
    inside = [_inside(name, reserved) for name in file_names]
    short = [re.sub(r"\.[^./]*$", "", name) + suffix for name in inside]
    uses = Counter([*(name.lower() for name in short), reserved])
    names = [brief if uses[brief.lower()] == 1 else full + suffix for brief, full in zip(short, inside, strict=True)]
    taken = {reserved, *(str(folder).lower() for name in names for folder in PurePosixPath(name).parents)}
    paths = []
    for name in names:
        unique, number = _fitting(name, suffix), 1
        while unique.lower() in taken:
            number += 1
            unique = _fitting(name, f"-{number}{suffix}", instead_of=suffix)
        taken.add(unique.lower())
        paths.append(out / unique)
    return paths


def _fitting(name: str, ending: str, *, instead_of: str = "") -> str:
    """A name with an ending, its last part cut to what file systems bear; never within a character."""
    *folders, stem = name.removesuffix(instead_of or ending).split("/")
    room = _LONGEST_NAME - len(os.fsencode(ending))
    return "/".join([*(_cut(folder, _LONGEST_NAME) for folder in folders), f"{_cut(stem, room)}{ending}"])


def _cut(text: str, most_bytes: int) -> str:
    while len(os.fsencode(text)) > most_bytes:
        text = text[:-1]
    return text


def _inside(file_name: str, reserved: str) -> str:
    """A relative name that on no system leaves the folder it is joined to or leads through a file in it."""
    parts = [part for part in re.split(r"[/\\]", file_name.replace("\0", "")) if part.strip(". ")]
    kept = [part for part in parts if not re.fullmatch(r"[A-Za-z]:", part)]
    safe = [part.replace(":", "_") for part in kept]
    if len(safe) > 1 and safe[0].lower() == reserved:
        safe[0] += "_"
    return "/".join(safe) or "image"

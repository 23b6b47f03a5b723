"""Detections written for other tools: CSV, YOLO txt and VOC xml.

Boxes leave in the geometry of each format, exact: CSV has ``xmin, ymin, xmax, ymax`` as they are here (xyxy, half-open,
pixels of the original image), for YOLO and VOC see ``detection.data.label_files``.
The same detections always give the same bytes, and a file is complete or not there at all.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from detection.atomic import atomic_path
from detection.data.label_files import NamedBox, shortest, write_voc_xml, yolo_line
from detection.predictions import ImageDetections, detection_rows

_LONGEST_NAME = 255
"""Bytes of a file's name that nearly every file system bears."""

CSV_HEADER = ("file_name", "class", "score", "xmin", "ymin", "xmax", "ymax")


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
                numbers = [shortest(value) for value in (score, *box)]
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
        size_hw, rows = image.detections.image_size_hw, detection_rows(image.detections)
        lines = [f"{yolo_line(label, box, size_hw)} {shortest(score)}\n" for box, score, label in rows]
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
        rows = detection_rows(image.detections)
        objects = (NamedBox(class_names[label], box, score=score) for box, score, label in rows)
        with atomic_path(path) as draft:
            write_voc_xml(draft, image.file_name, image.detections.image_size_hw, objects)


def _with_paths(
    images: Iterable[ImageDetections], file_names: Sequence[str], paths: Sequence[Path]
) -> Iterator[tuple[ImageDetections, Path]]:
    """Each image with its path, one at a time."""
    for image, file_name, path in zip(images, file_names, paths, strict=True):
        if image.file_name != file_name:
            raise ValueError(f"expected image {file_name!r} as listed in file_names, got {image.file_name!r}")
        yield image, path


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

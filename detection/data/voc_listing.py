"""What the xml files of a split say, image after image: shared by the formats that write VOC's xml."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detection.data.image import IMAGE_SUFFIXES
from detection.data.raw import (
    BoxNotation,
    Float64Array,
    Int64Array,
    ListedImage,
    RawObject,
    first_repeats,
    is_inside,
    read_label_file,
)
from detection.data.records import Finding
from detection.data.voc_xml import CORNERS, VocAnnotation, XmlError, parse_annotation


def _to_xyxy(values: Float64Array, sizes_hw: Int64Array) -> Float64Array:
    """1-based inclusive -> 0-based half-open."""
    return np.subtract(values, [1.0, 1.0, 0.0, 0.0])


NOTATION = BoxNotation("object", CORNERS, _to_xyxy)

_CLASS_COLUMN = re.compile(r"\s+(-1|0|1)$")


def names_in_line(line: str) -> list[str]:
    """What a line of a list may name, in the order to try.

    Returns:
        The line; the line without a second column, which tells of one class; and those two without an image's suffix.
    """
    whole = (line, _CLASS_COLUMN.sub("", line))
    return [*whole, *(name[: name.rindex(".")] for name in whole if Path(name).suffix.lower() in IMAGE_SUFFIXES)]


@dataclass
class VocListing:
    """What the annotation files of a split say, one after the other; labels are given when all names are known.

    Attributes:
        images: The images so far.
        objects: Their objects, with label 0.
        object_names: The class name of each object, as written.
        findings: What was wrong so far.
        left_out: Ids of the images that were left out.
    """

    images: list[ListedImage] = field(default_factory=list)
    objects: list[RawObject] = field(default_factory=list)
    object_names: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)

    def add(self, image: ListedImage, annotation: VocAnnotation) -> None:
        """Appends an image and its objects."""
        for item in annotation.objects:
            self.objects.append(RawObject(len(self.images), item.number, 0, item.corners, item.difficult))
            self.object_names.append(item.name)
        self.images.append(image)

    def label_by_name(self) -> tuple[tuple[str, ...], list[RawObject]]:
        """The distinct class names, sorted, and the objects with their labels."""
        names = sorted(set(self.object_names))
        label = {name: index for index, name in enumerate(names)}
        pairs = zip(self.objects, self.object_names, strict=True)
        return tuple(names), [row._replace(label=label[name]) for row, name in pairs]


def read_annotation(path: Path, label_file: str, findings: list[Finding]) -> VocAnnotation | None:
    """Reads an annotation file and adds its findings; None if it is unreadable, without objects if it is missing."""
    if not os.path.lexists(path):
        return VocAnnotation()
    content = read_label_file(path, label_file, findings)
    if content is None:
        return None
    try:
        annotation = parse_annotation(content, label_file)
    except XmlError as fault:
        findings.append(Finding("unreadable-label", label_file, str(fault), "correct the file; its image is left out"))
        return None
    findings.extend(annotation.findings)
    if annotation.file_name and not is_inside(annotation.file_name):
        message = f"<filename> '{annotation.file_name}' leads out of the data folder"
        findings.append(Finding("unsafe-name", label_file, message, "write the bare file name; not followed"))
    return annotation


def check_listed_names(listed: Sequence[str], list_file: str) -> tuple[list[str], list[Finding]]:
    """The distinct names of a list that stay inside the data folder, in its order, and what is wrong with the others.

    Args:
        listed: The names, as the list has them.
        list_file: Its name, for the findings.

    Returns:
        The names and the findings: one a name that leads out, one for all repeats.
    """
    safe = {name: is_inside(name) for name in listed}
    findings = [
        Finding("unsafe-name", list_file, f"'{name}' leads out of the data folder", "write a name inside it; left out")
        for name, inside in safe.items()
        if not inside
    ]
    repeats = first_repeats(listed)
    if repeats:
        message = f"lists {repeats} more than once"
        findings.append(Finding("duplicate-image", list_file, message, "delete the repeats; each is used once"))
    return [name for name, inside in safe.items() if inside], findings

"""Reads data sets in the format of YOLO: a yaml with class names, one text file of labels an image.

A line is ``class cx cy w h`` with centre and size as shares of the image's width and height, or ``class x1 y1 x2 y2
x3 y3 ...``, a polygon, of which the bounding box is taken. Where the yaml has ``kpt_shape``, keypoints follow the box;
they are not used. The labels of ``images/a.jpg`` lie in ``labels/a.txt``, or
beside the image. An image without a label file is one without objects.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detection.data.image import find_images, is_hidden
from detection.data.raw import (
    BoxNotation,
    Float64Array,
    Int64Array,
    ListedImage,
    RawObject,
    RawSplit,
    absolute_path,
    first_names,
    is_file,
    is_no_file,
    read_label_file,
    relative_name,
)
from detection.data.records import Finding
from detection.data.yolo_yaml import YoloYaml, find_yaml, load_yolo_yaml
from detection.errors import InputError

LAYOUT = "data.yaml with 'names' and 'train'/'val'/'test', images/ and, parallel to it, labels/"

_IMAGES = "images"
_LABELS = ("labels", "Labels")
_BOX_NUMBERS = 4
_MIN_POLYGON_NUMBERS = 6
_NO_LABEL_FILE = "classes.txt"  # labelImg writes the class names there.


def _shares_to_xyxy(values: Float64Array, sizes_hw: Int64Array) -> Float64Array:
    """Normalized centre and size -> xyxy pixels."""
    return _centre_to_xyxy(values * np.tile(sizes_hw[:, ::-1], 2), sizes_hw)


def _centre_to_xyxy(values: Float64Array, sizes_hw: Int64Array) -> Float64Array:
    half = values[:, 2:] / 2
    return np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1)


_COLUMNS = ("cx", "cy", "w", "h")
_MISTAKEN_FOR = BoxNotation("line", ("cx px", "cy px", "w px", "h px"), _centre_to_xyxy)
NOTATION = BoxNotation("line", _COLUMNS, _shares_to_xyxy, _MISTAKEN_FOR)


def recognise(root: Path) -> str | None:
    """Says why a folder or a yaml file is a YOLO data set; None if it is not."""
    path = find_yaml(root)
    return None if path is None else f"YOLO: has {path.name} with class names"


def list_splits(root: Path) -> tuple[str, ...]:
    """Names the splits of the yaml."""
    path = find_yaml(root)
    return () if path is None else tuple(load_yolo_yaml(path).sources)


def read_yolo(root: Path, split: str) -> RawSplit:
    """Reads one split of a YOLO data set.

    Args:
        root: The data folder, or its yaml file.
        split: ``train``, ``val`` or ``test``, as the yaml has them.

    Returns:
        The images of the split, sorted by path or in the order of its list file; ids are positions from 1; the
        classes of the yaml in the order of their numbers, which are the category ids.

    Raises:
        InputError: If there is no yaml, or it does not have the split or names.
    """
    path = find_yaml(root)
    if path is None:
        raise InputError(f"{root}: not a YOLO data set; expected {LAYOUT}")
    yaml = load_yolo_yaml(path)
    listing = _list_images(yaml, split)
    return RawSplit(
        root=root,
        split=split,
        format="yolo",
        reason=_reason(yaml, listing.images),
        class_names=tuple(yaml.name_of_id.values()),
        category_ids=tuple(yaml.name_of_id),
        notation=NOTATION,
        images=listing.images,
        objects=listing.objects,
        findings=listing.all_findings(),
        left_out=listing.left_out,
    )


@dataclass
class _Listing:
    """What the label files of a split say, one after the other."""

    images: list[ListedImage] = field(default_factory=list)
    objects: list[RawObject] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)

    def all_findings(self) -> list[Finding]:
        """The findings, and one for all images without a label file."""
        if not self.unlabelled:
            return self.findings
        message = f"{len(self.unlabelled)} images have no label file: {first_names(self.unlabelled)}"
        remedy = "write an empty one if nothing is to be seen; counted as images without objects"
        return [*self.findings, Finding("no-label-file", self.unlabelled[0], message, remedy)]


def label_path(image: Path, root: Path) -> Path:
    """The label file of an image: the last folder ``images`` of its path becomes ``labels``.

    Args:
        image: The image.
        root: Folder of the data set. If the image lies in it, what the folder itself is called does not matter.

    Returns:
        The first that exists: the parallel file, or the one beside the image. If none does, where it belongs.
    """
    beside = image.with_suffix(".txt")
    parts = beside.parts
    start = len(root.parts) if image.is_relative_to(root) else 0
    folders = [index for index, part in enumerate(parts[:-1]) if index >= start and part.casefold() == _IMAGES]
    candidates = [beside]
    if folders:
        last = folders[-1]
        names = _LABELS if parts[last][0].islower() else _LABELS[::-1]
        candidates = [*(Path(*parts[:last], name, *parts[last + 1 :]) for name in names), beside]
    there = next((path for path in candidates if is_no_file(path)), candidates[0])  # what is no file is told
    return next((path for path in candidates if is_file(path)), there)


def parse_line(
    line: str, label_of_id: Mapping[int, int], keypoint_numbers: int = 0
) -> tuple[int, tuple[float, float, float, float]] | str:
    """Reads one line of a label file.

    Args:
        line: ``class cx cy w h`` or a class and a polygon; anything else may come.
        label_of_id: The known class numbers and their labels.
        keypoint_numbers: How many numbers of keypoints follow a box; where some do, there are no polygons.

    Returns:
        The label and normalized (cx, cy, w, h), or what is wrong.
    """
    try:
        class_id, *numbers = map(float, line.split())
    except ValueError:
        return f"is '{line[:60]}', expected numbers: class cx cy w h"
    if class_id not in label_of_id:
        return f"has class {class_id:g}, expected one of {first_names([str(number) for number in label_of_id], 10)}"
    label = label_of_id[int(class_id)]
    if len(numbers) in (_BOX_NUMBERS, _BOX_NUMBERS + keypoint_numbers):
        return label, (numbers[0], numbers[1], numbers[2], numbers[3])
    if keypoint_numbers:
        return (
            f"has {len(numbers) + 1} values, expected class cx cy w h and {keypoint_numbers} of keypoints (kpt_shape)"
        )
    if len(numbers) < _MIN_POLYGON_NUMBERS or len(numbers) % 2:
        return f"has {len(numbers) + 1} values, expected class cx cy w h or a class and a polygon of 3 or more points"
    left, right, top, bottom = min(numbers[::2]), max(numbers[::2]), min(numbers[1::2]), max(numbers[1::2])
    return label, ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


def _reason(yaml: YoloYaml, images: Sequence[ListedImage]) -> str:
    """What the data set was recognised by, and where its images lie if not below the yaml's folder."""
    home, base = absolute_path(yaml.path.parent), absolute_path(yaml.base)
    folders = [absolute_path(folder) for folder in dict.fromkeys(image.path.parent for image in images)]
    outside = [folder for folder in folders if not folder.is_relative_to(home)]
    places = list(dict.fromkeys(str(base if folder.is_relative_to(base) else folder) for folder in outside))
    seen = f"YOLO: has {yaml.path.name}"
    return f"{seen}; images below {first_names(places)}" if places else f"{seen} with class names"


def _list_images(yaml: YoloYaml, split: str) -> _Listing:
    listing = _Listing()
    paths, source_findings = yaml.find_split_images(split)
    listing.findings += source_findings
    label_of_id = {class_id: label for label, class_id in enumerate(yaml.name_of_id)}
    labels_of = {path: label_path(path, yaml.root) for path in paths}
    for position, (path, labels) in enumerate(labels_of.items(), start=1):
        label_file, file_name = relative_name(labels, yaml.base), relative_name(path, yaml.base)
        if os.path.lexists(labels):
            content = read_label_file(labels, label_file, listing.findings)
            if content is None:
                listing.left_out.append(position)
                continue
            lines = content.decode("utf-8-sig", errors="replace").splitlines()
            _add_objects(listing, lines, label_file, label_of_id, yaml.keypoint_numbers)
        else:
            listing.unlabelled.append(file_name)
        listing.images.append(ListedImage(position, path, file_name, label_file, None))
    listing.findings += _orphaned_labels(labels_of, yaml.base)
    return listing


def _orphaned_labels(labels_of: Mapping[Path, Path], base: Path) -> list[Finding]:
    """One finding for the files of the label folders that belong to no image, listed or not."""
    folders = {labels.parent: image.parent for image, labels in labels_of.items()}
    known = set(labels_of.values())
    orphans: list[str] = []
    for labels, pictures in folders.items():
        if labels != pictures:  # Beside the images any text may lie.
            images = find_images(pictures) if pictures.is_dir() else []  # A list may name a folder that is gone.
            known |= {labels / f"{image.stem}.txt" for image in images} | {labels / _NO_LABEL_FILE}
            there = (path for path in sorted(labels.glob("*.txt")) if not is_hidden(path, labels))  # ._a.txt of a Mac
            orphans += [relative_name(path, base) for path in there if path not in known]
    if not orphans:
        return []
    message = f"{len(orphans)} label files have no image: {first_names(orphans)}"
    return [Finding("missing-image", orphans[0], message, "add the images; their objects are left out")]


def _add_objects(
    listing: _Listing, lines: Sequence[str], label_file: str, label_of_id: Mapping[int, int], keypoint_numbers: int
) -> None:
    """Appends the objects of the lines of one label file, which belong to the next image."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parsed = parse_line(line, label_of_id, keypoint_numbers)
        if isinstance(parsed, str):
            remedy = "correct or delete it; left out"
            listing.findings.append(Finding("bad-object", label_file, f"line {number} {parsed}", remedy))
        else:
            label, values = parsed
            listing.objects.append(RawObject(len(listing.images), number, label, values))

"""Turns what the files of a split say into records that the program can trust: the same for every format.

Legend: N objects of the split, I images of the split.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detection.data.boxes_check import PackedObjects, check_boxes
from detection.data.classes import UNKNOWN_LABEL, UnknownClasses, match_classes
from detection.data.image import ImageHeader, read_image_header
from detection.data.raw import Int64Array, ListedImage, RawSplit, relative_name
from detection.data.records import DetectionData, Finding, ImageRecord
from detection.errors import InputError


def assemble(raw: RawSplit, class_names: Sequence[str] | None, unknown_classes: UnknownClasses) -> DetectionData:
    """Looks at the images, fixes the labels, checks the boxes.

    Args:
        raw: The split as it is written.
        class_names: C names in label order; None takes those of the files.
        unknown_classes: What to do with objects of another class.

    Returns:
        The images that can be opened, in the order of the split, and everything that was wrong. Where all images had
        to be left out, none.

    Raises:
        InputError: If the split lists no image, or an object has an unknown class and that is to be an error.
    """
    if not raw.images and not raw.findings:
        raise InputError(f"{raw.root}: split '{raw.split}' lists no image; name another split or fill it")
    classes = match_classes(raw, class_names, unknown_classes)
    sizes_hw, image_findings = _read_sizes(raw)
    objects, box_findings = check_boxes(_pack(raw, classes.label_of, sizes_hw), raw)
    return DetectionData(
        root=raw.root,
        split=raw.split,
        format=raw.format,
        reason=raw.reason,
        class_names=classes.class_names,
        category_ids=classes.category_ids,
        images=_split_by_image(raw.images, sizes_hw, objects),
        findings=(*raw.findings, *classes.findings, *image_findings, *box_findings),
        groups=raw.groups,
        other_ids=raw.other_ids,
        unreadable=frozenset(raw.left_out).union(
            image.image_id for image, height in zip(raw.images, sizes_hw[:, 0], strict=True) if not height
        ),
        unjudged=frozenset(
            (image_id, int(classes.label_of[label]))
            for image_id, label in raw.unjudged
            if classes.label_of[label] != UNKNOWN_LABEL
        ),
    )


def unreadable_image(path: Path, root: Path, error: InputError) -> Finding:
    """Turns the error of reading an image into a finding.

    Args:
        path: The image; the error's text starts with it.
        root: The data folder, or the file in it that was given.
        error: Raised by the image loader.

    Returns:
        The finding.
    """
    kind = "unreadable-image" if os.path.exists(path) else "missing-image"
    file = relative_name(path, root if root.is_dir() else root.parent)
    return Finding(kind, file, str(error).removeprefix(f"{path}: "), "left out")


def _read_sizes(raw: RawSplit) -> tuple[Int64Array, list[Finding]]:
    """Reads the (I, 2) upright height and width of the images, (0, 0) for those that cannot be opened."""
    sizes_hw = np.zeros((len(raw.images), 2), dtype=np.int64)
    findings = []
    for index, image in enumerate(raw.images):
        try:
            header = read_image_header(image.path)
        except InputError as error:
            findings.append(unreadable_image(image.path, raw.root, error))
            continue
        sizes_hw[index] = header.size_hw
        if image.label_size_hw not in (None, header.size_hw):
            findings.append(_size_mismatch(image, header))
    return sizes_hw, findings


def _size_mismatch(image: ListedImage, header: ImageHeader) -> Finding:
    claimed = _width_by_height(image.label_size_hw)
    upright, stored = _width_by_height(header.size_hw), _width_by_height(header.stored_size_hw)
    message = f"says {image.file_name} is {claimed} (width x height), the file is {upright}"
    remedy = "label the image as it is now, or correct the size; boxes read as they stand"
    if image.label_size_hw == header.stored_size_hw:
        message += f": {stored} is its size before the EXIF orientation {header.orientation} is applied"
        remedy = "label the upright image, or remove the EXIF orientation; boxes read as they stand"
    return Finding("size-mismatch", image.label_file, message, remedy)


def _width_by_height(size_hw: tuple[int, int] | None) -> str:
    return "unknown" if size_hw is None else f"{size_hw[1]}x{size_hw[0]}"


def _pack(raw: RawSplit, label_of: Int64Array, sizes_hw: Int64Array) -> PackedObjects:
    """Packs the objects that have a label and an image, and converts their boxes to xyxy pixels."""
    image_index = np.array([row.image_index for row in raw.objects], dtype=np.int64)
    raw_labels = np.array([row.label for row in raw.objects], dtype=np.int64)
    values = np.array([row.values for row in raw.objects], dtype=np.float64).reshape(-1, 4)
    object_sizes_hw = sizes_hw[image_index]
    labels = label_of[raw_labels]
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = raw.notation.to_xyxy(values, object_sizes_hw)
    packed = PackedObjects(
        row=np.arange(len(raw.objects)),
        image_index=image_index,
        values=values,
        boxes=boxes,
        labels=labels,
        ignore=np.array([row.ignore for row in raw.objects], dtype=np.bool_),
        area=np.array([row.area for row in raw.objects], dtype=np.float64),
        sizes_hw=object_sizes_hw,
    )
    return packed.select((labels != UNKNOWN_LABEL) & (object_sizes_hw > 0).all(axis=1))


def _split_by_image(
    images: Sequence[ListedImage], sizes_hw: Int64Array, objects: PackedObjects
) -> tuple[ImageRecord, ...]:
    """Cuts the packed objects into one record an image; the records are views of the packed columns."""
    objects = objects.select(np.argsort(objects.image_index, kind="stable"))
    bounds = np.searchsorted(objects.image_index, np.arange(len(images) + 1))
    boxes = objects.boxes.astype(np.float32)
    box_area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    area = np.where(np.isfinite(objects.area) & (objects.area > 0), objects.area, box_area).astype(np.float32)
    records = []
    for index, image in enumerate(images):
        height, width = map(int, sizes_hw[index])
        rows = slice(bounds[index], bounds[index + 1])
        if height > 0:
            records.append(
                ImageRecord(
                    image_id=image.image_id,
                    path=image.path,
                    file_name=image.file_name,
                    size_hw=(height, width),
                    boxes=boxes[rows],
                    labels=objects.labels[rows],
                    ignore=objects.ignore[rows],
                    area=area[rows],
                )
            )
    return tuple(records)

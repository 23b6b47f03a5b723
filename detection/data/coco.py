"""Reads data sets in the format of COCO: one json a split, boxes as [x, y, width, height].

Categories keep the order and the ids of the json, whether from 0, from 1 or with gaps; labels are positions in that
order, or in the order of the class names that the caller gives. ``iscrowd`` and ``ignore`` mark objects to be ignored.
Image ids are kept if all are integers, else images are numbered from 1 in the order of the json.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detection.data.coco_files import LAYOUT, find_image_folder, find_split_file, find_split_files
from detection.data.coco_json import list_images, list_objects, load_coco_json
from detection.data.image import find_images
from detection.data.raw import (
    BoxNotation,
    Float64Array,
    Int64Array,
    ListedImage,
    RawSplit,
    first_names,
    relative_name,
)
from detection.data.records import Finding
from detection.errors import InputError


def _to_xyxy(values: Float64Array, sizes_hw: Int64Array) -> Float64Array:
    """[x, y, width, height] -> xyxy."""
    return np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1)


def _corners(values: Float64Array, sizes_hw: Int64Array) -> Float64Array:
    return values


_MISTAKEN_FOR = BoxNotation("annotation", ("x1", "y1", "x2", "y2"), _corners)
NOTATION = BoxNotation("annotation", ("x", "y", "width", "height"), _to_xyxy, _MISTAKEN_FOR)


def recognise(root: Path) -> str | None:
    """Says why a folder or a json file is a COCO data set; None if it is not."""
    files = [relative_name(path, root) if root.is_dir() else path.name for path in find_split_files(root).values()]
    return f"COCO: has {first_names(files)}" if files else None


def read_coco(root: Path, split: str) -> RawSplit:
    """Reads one split of a COCO data set.

    Args:
        root: The data folder, or a json file.
        split: Name of the split, with or without the year; of no effect if ``root`` is a json file.

    Returns:
        The images of the json in its order, those without annotations too; its categories in their order,
        with their ids.

    Raises:
        InputError: If there is no json for the split, it is no COCO json, its categories are ambiguous, or its images
            are nowhere.
    """
    reason = recognise(root)
    if reason is None:
        raise InputError(f"{root}: not a COCO data set; expected {LAYOUT}")
    full_split, path = find_split_file(root, split)
    content = load_coco_json(path, relative_name(path, root) if root.is_dir() else path.name)
    folder = find_image_folder(root, full_split, path, content.file_names())
    listed = list_images(content, folder)
    objects, object_findings = list_objects(content, listed.row_of_id)
    beside = find_split_files(root if root.is_dir() else root.parent)
    is_own_folder = folder.name in (full_split, split) or len(beside) == 1
    unlisted = _unlisted(listed.images, folder, recursive=folder != root) if is_own_folder else []
    return RawSplit(
        root=root,
        split=split,
        format="coco",
        reason=reason,
        class_names=content.class_names,
        category_ids=content.category_ids,
        notation=NOTATION,
        images=listed.images,
        objects=objects,
        groups=content.groups,
        other_ids=listed.other_ids,
        findings=[*content.findings, *listed.findings, *object_findings, *unlisted],
    )


def _unlisted(images: Sequence[ListedImage], folder: Path, *, recursive: bool) -> list[Finding]:
    """One finding for the images that lie beside the listed ones; a folder that splits share tells nothing."""
    listed = {image.path for image in images}
    there = find_images(folder, recursive=recursive) if folder.is_dir() else []  # A json without images may have none.
    names = [relative_name(path, folder) for path in there if path not in listed]
    if not names:
        return []
    message = f"{len(names)} images of {folder.name}/ are not listed: {first_names(names)}"
    return [Finding("unlisted-image", images[0].label_file if images else folder.name, message, "list them; not used")]

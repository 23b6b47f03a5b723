"""What a COCO json says, entry by entry; an entry that cannot be used becomes a finding."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from detection.data.classes import check_class_table
from detection.data.raw import ListedImage, RawObject, first_names, first_repeats, is_inside
from detection.data.records import Finding
from detection.errors import InputError

EntryId: TypeAlias = int | float | str

_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoJson:
    """A COCO json whose frame is in order; the entries of ``images`` and ``annotations`` are still unchecked.

    Attributes:
        file: Its name, relative to the data folder.
        images: Entries of ``images``.
        annotations: Entries of ``annotations``.
        category_ids: Ids of the categories that have a name, in the order of the json.
        class_names: Their names.
        groups: Id -> name of the categories that are no classes and only group others.
        findings: What is wrong with the categories.
    """

    file: str
    images: Sequence[Any]
    annotations: Sequence[Any]
    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    groups: Mapping[int, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def file_names(self) -> list[str]:
        """The image names that stay inside the image folder, in the order of the json."""
        return [name for name in map(_file_name, self.images) if is_inside(name)]


@dataclass(frozen=True)
class ListedImages:
    """The usable images of a json.

    Attributes:
        images: The images, in the order of the json.
        row_of_id: Image id as written -> row in ``images``.
        other_ids: Id of a further entry of a file -> the id of its image, where ids are kept.
        findings: What is wrong with the other entries.
    """

    images: tuple[ListedImage, ...]
    row_of_id: Mapping[EntryId, int]
    other_ids: Mapping[int, int]
    findings: tuple[Finding, ...]


def load_coco_json(path: Path, file: str) -> CocoJson:
    """Reads a json and checks its frame: the three lists and the categories.

    Args:
        path: Where it lies.
        file: Its name in findings.

    Returns:
        The json.

    Raises:
        InputError: If it is no json, lacks a list, or its categories are ambiguous or have no integer ids.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid json ({error}); export it again") from error
    lists = content if isinstance(content, dict) else {}
    lacking = [key for key in _LISTS if not isinstance(lists.get(key), list)]
    if lacking:
        raise InputError(f"{path}: no list '{lacking[0]}'; a COCO json has the lists {', '.join(_LISTS)}")
    categories, groups = _read_categories(lists, path)
    ids = tuple(int(entry["id"]) for entry in categories)
    names = tuple(str(entry["name"]) for entry in categories)
    check_class_table(str(path), ids, names)
    group_names = {int(entry["id"]): str(entry["name"]) for entry in groups}
    return CocoJson(
        file, lists["images"], lists["annotations"], ids, names, group_names, _group_findings(group_names, file)
    )


def list_images(content: CocoJson, folder: Path) -> ListedImages:
    """Lists the images of a json.

    Args:
        content: The json.
        folder: What the file names are relative to.

    Returns:
        The images, one for each file name. Their ids are kept if all are integers of 64 bits, else they are the
        positions in the json from 1.
    """
    positions: list[int] = []
    row_of_id: dict[EntryId, int] = {}
    row_of_name: dict[str, int] = {}
    findings = []
    for position, entry in enumerate(content.images, start=1):
        fault = _image_fault(entry, row_of_id)
        if fault:
            findings.append(Finding("bad-image-entry", content.file, f"image entry {position} {fault}", _REMEDY))
            continue
        name = _file_name(entry)
        row_of_id[entry["id"]] = row = row_of_name.setdefault(name, len(positions))
        if row < len(positions):
            message = f"image entry {position} has the file_name '{name}' of an earlier one"
            findings.append(Finding("duplicate-image", content.file, message, _MERGED))
        else:
            positions.append(position)
    entries = [content.images[position - 1] for position in positions]
    keep_ids = all(_is_int64(entry["id"]) for entry in entries)
    images = tuple(
        ListedImage(entry["id"] if keep_ids else position, folder / name, name, content.file, _label_size(entry))
        for position, entry, name in zip(positions, entries, map(_file_name, entries), strict=True)
    )
    written = {int(image_id): images[row].image_id for image_id, row in row_of_id.items() if _is_int64(image_id)}
    other_ids = {one: other for one, other in written.items() if keep_ids and one != other}
    return ListedImages(images, row_of_id, other_ids, tuple(findings))


def list_objects(content: CocoJson, row_of_id: Mapping[EntryId, int]) -> tuple[list[RawObject], list[Finding]]:
    """Lists the annotations that name a known image and category and have four numbers.

    Args:
        content: The json.
        row_of_id: Image id -> row, from `list_images`.

    Returns:
        The objects, and what is wrong with the other annotations: one finding each.
    """
    label_of_id: dict[EntryId, int] = {category_id: label for label, category_id in enumerate(content.category_ids)}
    objects, findings = [], []
    for position, entry in enumerate(content.annotations, start=1):
        parsed = _parse_annotation(entry, position, row_of_id, label_of_id)
        if isinstance(parsed, RawObject):
            objects.append(parsed)
        else:
            kind, fault = parsed
            findings.append(Finding(kind, content.file, f"{_annotation_name(entry, position)} {fault}", _REMEDY))
    return objects, [*findings, *_repeated_ids(content)]


_REMEDY = "correct or delete it; left out"
_MERGED = "list each image once; the objects of both entries were read as one image's"


def _read_categories(
    lists: Mapping[str, Sequence[Any]], path: Path
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The categories that have a name and are classes, and those that only group others."""
    named = [entry for entry in lists["categories"] if isinstance(entry, dict) and entry.get("name")]
    wrong_ids = [repr(entry.get("id")) for entry in named if not isinstance(entry.get("id"), int)]
    if wrong_ids:
        raise InputError(f"{path}: category id {first_names(wrong_ids)} is no integer; number the categories")
    used_ids = {_entry_id(entry, "category_id") for entry in lists["annotations"]}
    num_members = Counter(_group(entry) for entry in named)
    categories: list[Mapping[str, Any]] = []
    groups: list[Mapping[str, Any]] = []
    for entry in named:
        name = str(entry["name"])
        num_others = num_members[name] - (_group(entry) == name)  # Of COCO's own, person is in the group person.
        is_group = num_others > 0 and entry["id"] not in used_ids
        (groups if is_group else categories).append(entry)
    return categories, groups


def _group_findings(groups: Mapping[int, str], file: str) -> tuple[Finding, ...]:
    """One finding for all categories that are no classes."""
    if not groups:
        return ()
    written = first_names([f"'{name}' (id {number})" for number, name in groups.items()])
    message = f"category {written} only groups other categories; no annotation uses it"
    return (Finding("group-category", file, message, "delete it; left out"),)


def _group(category: Mapping[str, Any]) -> str:
    return str(category.get("supercategory") or "")


def _entry_id(entry: Any, key: str) -> EntryId | None:
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, int | float | str) else None


def _is_int64(value: Any) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _file_name(entry: Any) -> str:
    """The image name of an entry with forward slashes; empty if it has none."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    return name.replace("\\", "/") if isinstance(name, str) else ""


def _image_fault(entry: Any, row_of_id: Mapping[EntryId, int]) -> str:
    """Says why an image entry cannot be used; empty if it can."""
    image_id, name = _entry_id(entry, "id"), _file_name(entry)
    if image_id is None:
        return "has no id"
    if image_id in row_of_id:
        return f"('{name}') has the id {image_id!r} of an earlier image"
    if not name:
        return f"(id {image_id!r}) has no file_name"
    if not is_inside(name):
        return f"(id {image_id!r}) has the file_name '{name}', which leads out of the image folder"
    return ""


def _label_size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _annotation_name(entry: Any, position: int) -> str:
    annotation_id = _entry_id(entry, "id")
    return f"annotation entry {position}" if annotation_id is None else f"annotation {annotation_id}"


def _parse_annotation(
    entry: Any, position: int, row_of_id: Mapping[EntryId, int], label_of_id: Mapping[EntryId, int]
) -> RawObject | tuple[str, str]:
    """Reads one annotation, or tells the kind of its fault and what it is."""
    image_id, category_id = _entry_id(entry, "image_id"), _entry_id(entry, "category_id")
    if image_id is None or image_id not in row_of_id:
        return "unknown-image", f"has image_id {image_id!r}, which is no usable entry of 'images'"
    if category_id is None or category_id not in label_of_id:
        return "unknown-category", f"has category_id {category_id!r}, which is no entry of 'categories'"
    values = _numbers(entry.get("bbox"))
    if values is None:
        return "bad-object", f"has bbox {entry.get('bbox')!r}, expected [x, y, width, height]"
    annotation_id = entry.get("id")
    return RawObject(
        image_index=row_of_id[image_id],
        number=annotation_id if isinstance(annotation_id, int) else position,
        label=label_of_id[category_id],
        values=values,
        ignore=entry.get("iscrowd") in (1, "1") or entry.get("ignore") in (1, "1"),
        area=_area(entry.get("area")),
    )


def _numbers(bbox: Any) -> tuple[float, float, float, float] | None:
    try:
        x, y, width, height = map(float, bbox if isinstance(bbox, list) else ())
    except (TypeError, ValueError, OverflowError):
        return None
    return x, y, width, height


def _area(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _repeated_ids(content: CocoJson) -> Iterable[Finding]:
    """One finding for the annotation ids that stand more than once."""
    ids = (_entry_id(entry, "id") for entry in content.annotations)
    repeats = first_repeats([str(annotation_id) for annotation_id in ids if annotation_id is not None])
    if repeats:
        message = f"annotation id {repeats} stands more than once"
        yield Finding("duplicate-id", content.file, message, "number the annotations anew; all were read")

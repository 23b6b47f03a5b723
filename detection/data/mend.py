"""A mended copy of a data set, whatever its format: one COCO json a split, with the images beside them.

    OUT/annotations/instances_<split>.json     OUT/images/<path in the source>     OUT/fix.json

COCO's json is the one format that holds all that the others say about boxes: ids, names, ignored objects, areas, images
without objects, splits that share images. The copy holds what training would use of the source: faulty boxes and
unreadable images are gone, boxes lie inside their images, no two images have the same bytes, classes have one table.
Masks, polygons and other fields are not carried over. Nothing is guessed: what only a person can decide stays and is
reported. Annotations and names of the source reach nothing outside OUT, and the source is only read.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from detection.atomic import write_json
from detection.data.audit import Audit
from detection.data.boxes_check import MIN_SIDE_PX
from detection.data.class_drift import SAME_NAME
from detection.data.class_table import ClassTable, merge_classes
from detection.data.duplicates import surplus_copies
from detection.data.raw import absolute_path, is_inside
from detection.data.records import DetectionData, Finding, ImageRecord
from detection.errors import InputError

_MISREAD = "misread-boxes"
_LEFT_OUT = "left out"
_DONE = {
    "clipped-box": "clipped to the image",
    "class-count": "class table written anew",
    "class-id": "numbered alike in all splits",
    "duplicate-id": "annotations numbered anew",
    "duplicate-image": "listed once",
    "foreign-class": "one class table for all splits",
    "no-label-file": "listed without objects",
    "path-missing": "paths written anew",
    "size-mismatch": "the file's size written; boxes as they stand",
    "unreadable-label": "its image left out",
    "zero-id": "annotations numbered anew",
    **dict.fromkeys(
        (
            "bad-blacklist-line bad-image-entry bad-object degenerate-box duplicate-box empty-split group-category "
            "missing-image non-finite-box outside-box tiny-box unknown-category unknown-class unknown-image "
            "unlisted-image unlisted-label unreadable-image unreadable-split unsafe-name"
        ).split(),
        _LEFT_OUT,
    ),
}
# A copy that is in order hides these: nobody has checked whether the boxes or the missing labels are right, and a split
# that it lacks is no fault of its other splits.
_FOR_A_PERSON = ("no-label-file", "size-mismatch", "unreadable-split")
_NO_NAME = re.compile(r"[\\:]")  # In a json they would be read as folder and drive.
_NO_SPLIT = re.compile(r"[/\\:%]")  # In a split's name: of a list in a subfolder, and of a share.


@dataclass(frozen=True)
class Change:
    """One difference between the source and its copy.

    Attributes:
        kind: Of the finding that it mends.
        file: The file at fault, as in the finding.
        message: What was wrong.
        done: What the copy has instead.
    """

    kind: str
    file: str
    message: str
    done: str


def mend_dataset(
    audit: Audit, out: Path, *, on_image: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Change, ...]:
    """Writes the mended copy; the jsons come last, so an interrupted copy is no data set.

    Args:
        audit: The source.
        out: A new or empty folder.
        on_image: Called after each image is copied with the numbers of images done and in all.

    Returns:
        Every difference.

    Raises:
        InputError: If ``out`` is not empty or lies in the source or a folder of its images, no image is left, or the
            boxes of a split seem to be written in another notation: cut to their images by the wrong one they would
            look right and be wrong.
    """
    _refuse(audit, out)
    table = merge_classes(audit.parts)
    kept, copies = _choose_images(audit)
    if not any(kept.values()):
        raise InputError(f"{audit.root}: no image is left to copy; mend the findings by hand")
    names = _name_images([image for images in kept.values() for image in images], _base(audit.root))
    for done, (path, name) in enumerate(names.items(), start=1):
        target = out / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        on_image(done, len(names))
    repeats: list[Change] = []
    split_names = _name_splits([part.split for part in audit.parts])
    for part in audit.parts:
        if kept[part.split]:
            document = _document(part, kept[part.split], names, table, repeats)
            write_json(out / "annotations" / f"instances_{split_names[part.split]}.json", document)
    faults = (*audit.findings, *_empty_splits(audit, kept))
    mended = [_change(finding) for finding in faults if finding.kind in _DONE]
    return (*mended, *copies, *_class_changes(audit.parts, table), *repeats)


def left_for_a_person(audit: Audit, copy: Audit) -> tuple[Finding, ...]:
    """What the copy does not settle: its own findings, those of the source that it hides, the splits that it lacks."""
    hidden = (finding for finding in audit.findings if finding.kind in _FOR_A_PERSON)
    return (*hidden, *_empty_splits(audit, _choose_images(audit)[0]), *copy.findings)


def write_changes(out: Path, audit: Audit, changes: Sequence[Change], left: Sequence[Finding]) -> None:
    """Writes ``fix.json``: where the copy is from, every change, and what is left for a person."""
    document = {
        "source": str(audit.root),
        "format": audit.format,
        "changes": [asdict(change) for change in changes],
        "left": [asdict(finding) for finding in left],
    }
    write_json(out / "fix.json", document)


def refuse_folder(root: Path, out: Path, image_folders: Iterable[Path] = ()) -> None:
    """Refuses a folder for a copy.

    Args:
        root: The source: its folder, or a file, which stands for the folder that it lies in.
        out: The folder.
        image_folders: Where the images of the source lie, as far as that is known.

    Raises:
        InputError: If ``out`` is not empty or lies in one of the others.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not an empty folder; name a new one with --fix")
    for folder in (_base(root), *image_folders) if root.exists() else ():
        if out.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{out}: lies in the data set itself; name a folder outside {folder} with --fix")


def _base(root: Path) -> Path:
    return absolute_path(root if root.is_dir() else root.parent)


def _refuse(audit: Audit, out: Path) -> None:
    refuse_folder(audit.root, out, dict.fromkeys(image.path.parent for part in audit.parts for image in part.images))
    misread = next((finding for finding in audit.findings if finding.kind == _MISREAD), None)
    if misread is not None:
        raise InputError(f"{misread.file}: {misread.message}; no copy was made; {misread.remedy.partition(';')[0]}")


def _choose_images(audit: Audit) -> tuple[dict[str, list[ImageRecord]], list[Change]]:
    """The images of each split that decode and repeat no other, and a change for each that repeats one."""
    changes = []
    dropped = set()
    for copy in surplus_copies(audit.parts, audit.pictures):
        dropped.add((copy.split, copy.image.image_id))
        kind = "repeated-image" if copy.split == copy.kept_split else "shared-image"
        message = f"split '{copy.split}' has the same image as '{copy.kept.file_name}' in split '{copy.kept_split}'"
        changes.append(Change(kind, copy.image.file_name, message, f"left out of split '{copy.split}'"))
    kept = {
        part.split: [
            image
            for image in part.images
            if image.path in audit.pictures and (part.split, image.image_id) not in dropped
        ]
        for part in audit.parts
    }
    return kept, changes


def _empty_splits(audit: Audit, kept: Mapping[str, Sequence[ImageRecord]]) -> Iterator[Finding]:
    """A finding for each split of which no image is kept."""
    for part in audit.parts:
        if not kept[part.split]:
            message = "has no image that can be decoded and is no copy of a kept one"
            yield Finding("empty-split", f"split {part.split}", message, "give it images; the copy lacks this split")


def _name_images(images: Sequence[ImageRecord], base: Path) -> dict[Path, str]:
    """A name below OUT/images for each file, no two alike on any file system: its path in the source."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for image in images:
        if image.path in names:
            continue
        path = absolute_path(image.path)
        own = image.file_name if is_inside(image.file_name) else path.name
        name = path.relative_to(base).as_posix() if path.is_relative_to(base) else f"elsewhere/{own}"
        name = _NO_NAME.sub("_", name)
        pure = PurePosixPath(name)
        others = (pure.with_name(f"{pure.stem}-{number}{pure.suffix}").as_posix() for number in count(2))
        while name.casefold() in taken:
            name = next(others)
        assert is_inside(name), name
        taken.add(name.casefold())
        names[image.path] = name
    return names


def _name_splits(splits: Sequence[str]) -> dict[str, str]:
    """A name for the file of each split, no two alike."""
    names: dict[str, str] = {}
    for split in splits:
        name = _NO_SPLIT.sub("_", split)
        while name in names.values():
            name += "_"
        names[split] = name
    return names


def _document(
    part: DetectionData,
    images: Sequence[ImageRecord],
    names: Mapping[Path, str],
    table: ClassTable,
    repeats: list[Change],
) -> dict[str, Any]:
    """The json of a split; adds a change for each box that repeats another now that both are rounded to float32."""
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in images:
        height, width = image.size_hw
        entries.append({"id": image.image_id, "file_name": names[image.path], "width": width, "height": height})
        seen: set[tuple[Any, ...]] = set()
        for name, box, area, ignore in _objects(part, image, table):
            key = (name, *box, ignore)
            if key in seen:
                message = f"'{name}' has the box {list(box)} (x, y, width, height) more than once"
                repeats.append(Change("duplicate-box", image.file_name, message, _LEFT_OUT))
                continue
            seen.add(key)
            entry = {"id": len(annotations) + 1, "image_id": image.image_id, "category_id": table.id_of[name]}
            annotations.append({**entry, "bbox": list(box), "area": area, "iscrowd": int(ignore)})
    categories = [{"id": category_id, "name": name} for name, category_id in table.id_of.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}


def _objects(
    part: DetectionData, image: ImageRecord, table: ClassTable
) -> Iterator[tuple[str, tuple[float, float, float, float], float, bool]]:
    """Class in the copy, (x, y, width, height), area and ignore mark of the objects that are not tiny."""
    columns = (image.boxes.tolist(), image.labels.tolist(), image.area.tolist(), image.ignore.tolist())
    for (x1, y1, x2, y2), label, area, ignore in zip(*columns, strict=True):
        if min(x2 - x1, y2 - y1) >= MIN_SIDE_PX:
            yield table.name_of[part.class_names[label]], (x1, y1, x2 - x1, y2 - y1), area, ignore


def _class_changes(parts: Sequence[DetectionData], table: ClassTable) -> Iterator[Change]:
    for name in dict.fromkeys(name for part in parts for name in part.class_names):
        written = table.name_of.get(name)
        if written is None:
            yield Change("background-class", "class table", f"'{name}' has no object", _LEFT_OUT)
        elif written != name:
            yield Change("similar-classes", "class table", f"'{name}' {SAME_NAME}", f"written as '{written}'")


def _change(finding: Finding) -> Change:
    return Change(finding.kind, finding.file, finding.message, _DONE[finding.kind])

"""A mended copy of a data set, from any format into COCO json, VOC or YOLO (``detection.data.written``).

COCO's json is the one format that holds all that the others say about boxes: ids, names, ignored objects, areas, images
without objects, splits that share images. The copy holds what training would use of the source: faulty boxes and
unreadable images are gone, boxes lie inside their images, no two images have the same bytes, classes have one table.
Masks, polygons and other fields are not carried over. Nothing is guessed: what only a person can decide stays and is
reported. Annotations and names of the source reach nothing outside OUT, and the source is only read.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
from detection.data.image import IMAGE_SUFFIXES
from detection.data.raw import absolute_path, is_inside
from detection.data.records import DetectionData, Finding, ImageRecord
from detection.data.written import (
    Parts,
    WrittenFormat,
    WrittenImage,
    WrittenObject,
    image_folder,
    stem_of,
    write_dataset,
    yolo_splits,
)
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
_NO_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # Not in a list of names, a line of UTF-8 each.
_IMAGES = ("images", "jpegimages")
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
    audit: Audit,
    out: Path,
    *,
    form: WrittenFormat = "coco",
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Change, ...]:
    """Writes the mended copy; labels come after the images, ``fix.json`` is the caller's last.

    Args:
        audit: The source.
        out: A new or empty folder.
        form: Format of the copy.
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
    names = _name_images([image for images in kept.values() for image in images], _base(audit.root), form)
    for done, (path, name) in enumerate(names.items(), start=1):
        target = out / image_folder(form) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        on_image(done, len(names))
    losses: list[Change] = []
    split_names = _name_splits([part.split for part in audit.parts], form)
    parts = {
        split_names[part.split]: [_written(part, image, names[image.path], table, losses) for image in kept[part.split]]
        for part in audit.parts
        if kept[part.split]
    }
    losses += _renamed_splits(split_names)
    if form == "yolo":
        parts = {split: [_without_ignored(image, losses) for image in images] for split, images in parts.items()}
        losses += _unnamed_splits(parts)
    elif form == "voc":
        losses += _unused_classes(parts, table)
    write_dataset(out, form, parts, table.id_of)
    faults = (*audit.findings, *_empty_splits(audit, kept))
    mended = [_change(finding) for finding in faults if finding.kind in _DONE]
    return (*mended, *copies, *_class_changes(audit.parts, table), *dict.fromkeys(losses))


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


def _name_images(images: Sequence[ImageRecord], base: Path, form: WrittenFormat) -> dict[Path, str]:
    """A name for each file in the copy's folder of images: its path in the source.

    No two are alike on any file system, nor are their label files, which are named after them.
    """
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for image in images:
        if image.path in names:
            continue
        path = absolute_path(image.path)
        own = image.file_name if is_inside(image.file_name) else path.name
        name = path.relative_to(base).as_posix() if path.is_relative_to(base) else f"elsewhere/{own}"
        pure = _name_for(form, PurePosixPath(_NO_NAME.sub("_", name)))
        name = pure.as_posix()
        others = (pure.with_name(f"{pure.stem}-{number}{pure.suffix}").as_posix() for number in count(2))
        while stem_of(name).casefold() in taken:
            name = next(others)
        assert is_inside(name), name
        taken.add(stem_of(name).casefold())
        names[image.path] = name
    return names


def _name_for(form: WrittenFormat, name: PurePosixPath) -> PurePosixPath:
    """A name as a format bears it: COCO's json any; the others list names line by line.

    For YOLO, folders called images are left out, as labels are looked for in place of the last of them; VOC has all
    images in one folder. Names that no tool would take for an image's get a suffix, whose kind the content tells.
    """
    if form == "coco":
        return name
    *folders, last = (_NO_LINE.sub("_", part).strip().lstrip(".") or "_" for part in name.parts)  # no hidden files
    folders = [part for part in folders if part.lower() not in _IMAGES]
    bare = PurePosixPath(last)
    last = f"{bare.stem.strip()}{bare.suffix}" if bare.suffix.lower() in IMAGE_SUFFIXES else f"{last}.jpg"
    return PurePosixPath("_".join([*folders, last])) if form == "voc" else PurePosixPath(*folders, last)


def _name_splits(splits: Sequence[str], form: WrittenFormat = "coco") -> dict[str, str]:
    """A name for the file of each split, no two alike; in VOC ``cat_train`` lists a class beside train."""
    names: dict[str, str] = {}
    for split in splits:
        name = _NO_SPLIT.sub("_", split)
        if form == "voc" and any(name.endswith(f"_{other}") for other in splits):
            name = name.replace("_", "-")
        while name in names.values():
            name += "_"
        names[split] = name
    return names


def _written(
    part: DetectionData, image: ImageRecord, name: str, table: ClassTable, losses: list[Change]
) -> WrittenImage:
    """An image as the copy has it; adds a change for each box that repeats another now that both are float32."""
    columns = (image.boxes.tolist(), image.labels.tolist(), image.area.tolist(), image.ignore.tolist())
    objects: dict[tuple[Any, ...], WrittenObject] = {}
    for (x1, y1, x2, y2), label, area, ignore in zip(*columns, strict=True):
        if min(x2 - x1, y2 - y1) < MIN_SIDE_PX:
            continue
        found = WrittenObject(table.name_of[part.class_names[label]], (x1, y1, x2, y2), area, ignore)
        key = (found.name, found.box, found.ignore)
        if key in objects:
            message = f"'{found.name}' has the box {[x1, y1, x2, y2]} (xyxy) more than once"
            losses.append(Change("duplicate-box", image.file_name, message, _LEFT_OUT))
        objects.setdefault(key, found)
    return WrittenImage(image.image_id, name, image.size_hw, tuple(objects.values()))


def _without_ignored(image: WrittenImage, losses: list[Change]) -> WrittenImage:
    """The image without objects that are to be ignored, which YOLO's labels would make ordinary ones."""
    kept = tuple(each for each in image.objects if not each.ignore)
    if len(kept) < len(image.objects):
        message = f"{len(image.objects) - len(kept)} objects are difficult or crowds, which YOLO's labels cannot say"
        losses.append(Change("ignored-object", image.file_name, message, _LEFT_OUT))
    return image._replace(objects=kept)


def _renamed_splits(names: Mapping[str, str]) -> Iterator[Change]:
    """A change for each split whose file cannot be called like it."""
    for split, name in names.items():
        if name != split:
            yield Change("split-name", f"split {split}", "is no name for a file of this format", f"called {name}")


def _unnamed_splits(splits: Collection[str]) -> Iterator[Change]:
    """A change for each split that a data.yaml has no name for."""
    named = yolo_splits(list(splits)).values()
    for split in splits:
        if split not in named:
            message = "is none of the train, val and test that a data.yaml names"
            yield Change("split-name", f"split {split}", message, f"its images are listed in {split}.txt")


def _unused_classes(parts: Parts, table: ClassTable) -> Iterator[Change]:
    """A change for each class that no object has: VOC's files name the classes of their objects and no others."""
    used = {each.name for images in parts.values() for image in images for each in image.objects}
    for name in table.id_of:
        if name not in used:
            message = f"'{name}' has no object, and VOC has no list of classes"
            yield Change("unused-class", "class table", message, _LEFT_OUT)


def _class_changes(parts: Sequence[DetectionData], table: ClassTable) -> Iterator[Change]:
    for name in dict.fromkeys(name for part in parts for name in part.class_names):
        written = table.name_of.get(name)
        if written is None:
            yield Change("background-class", "class table", f"'{name}' has no object", _LEFT_OUT)
        elif written != name:
            yield Change("similar-classes", "class table", f"'{name}' {SAME_NAME}", f"written as '{written}'")


def _change(finding: Finding) -> Change:
    return Change(finding.kind, finding.file, finding.message, _DONE[finding.kind])

"""Reads the detection data of ILSVRC (DET): VOC's xml in nested folders, parallel to the images, synsets as classes.

The image ``Data/DET/val/a.JPEG`` has its objects in ``Annotations/DET/val/a.xml``; an image without that file is one
without objects, as ILSVRC's negative images are. ``ImageSets/DET/val.txt`` lists ``a 1``: the name below the folder of
the split and the number by which the devkit knows the image. The lists of one class (``train_1.txt``) are passed over.

Objects bear synset ids (``n02672831``). ``devkit/data/map_det.txt`` gives them numbers and readable names, which are
then the category ids and class names; without it the synset ids, sorted, are the classes. Boxes are VOC's: 1-based and
inclusive. The devkit's blacklist (``ilsvrc_blacklist.py``) names classes that are not judged on some images of val.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from detection.data.classes import check_class_table
from detection.data.ilsvrc_blacklist import read_blacklist, read_number
from detection.data.image import find_images
from detection.data.raw import (
    ListedImage,
    RawObject,
    RawSplit,
    choose_split,
    first_repeats,
    is_file,
    is_inside,
    relative_name,
)
from detection.data.records import Finding
from detection.data.voc_listing import NOTATION, VocListing, check_listed_names, read_annotation
from detection.errors import InputError

LAYOUT = (
    "Annotations/DET/<split>/, Data/DET/<split>/ (the same paths, *.xml and *.JPEG), ImageSets/DET/<split>.txt "
    "and devkit/data/map_det.txt"
)
TRAINVAL = "trainval"  # Train and val, for those who ask for it by name.

_ANNOTATIONS = "Annotations/DET"
_IMAGES = "Data/DET"
_LISTS = "ImageSets/DET"
_CLASS_MAP = "devkit/data/map_det.txt"
_SUFFIX = ".JPEG"
_VAL = "val"
_OFFICIAL_SPLITS = frozenset({"train", "val", "test"})
_CLASS_LIST = re.compile(r"train(_pos|_neg|_part)?_\d+")
_SECOND_COLUMN = re.compile(r"\s+(-?\d+)$")


class Synset(NamedTuple):
    """A class of the devkit: the id that objects bear, its number (1..200) and its readable name."""

    synset_id: str
    category_id: int
    name: str


def recognise(root: Path) -> str | None:
    """Says why a folder is an ILSVRC data set and what its classes are; None if it is none. Opens no file."""
    if not all((root / folder).is_dir() for folder in (_ANNOTATIONS, _IMAGES)):
        return None
    named = (root / _CLASS_MAP).is_file()
    classes = f"classes of {_CLASS_MAP}" if named else f"no {_CLASS_MAP}, so the classes are synset ids, sorted"
    return f"ILSVRC: has {_ANNOTATIONS}/ and {_IMAGES}/; {classes}"


def list_splits(root: Path) -> tuple[str, ...]:
    """Names the splits, sorted.

    Args:
        root: The data folder.

    Returns:
        The folders that have both annotations and images (not ``test``, whose annotations were never published), and
        the user's own lists. ``trainval`` is not among them, though it can be read: ILSVRC is measured on ``val``,
        which must not be learnt from unless asked for.
    """
    folders = {name for name in _folders(root / _IMAGES) if (root / _ANNOTATIONS / name).is_dir()}
    lists = {path.stem for path in (root / _LISTS).glob("*.txt") if not _CLASS_LIST.fullmatch(path.stem)}
    return tuple(sorted(folders | (lists - _OFFICIAL_SPLITS)))


def read_synsets(root: Path) -> tuple[Synset, ...]:
    """Reads the devkit's table of classes.

    Args:
        root: The data folder.

    Returns:
        The synsets by number; empty if there is no ``devkit/data/map_det.txt``.

    Raises:
        InputError: If a line cannot be read, the table is empty, or an id, a number or a name stands twice.
    """
    path = root / _CLASS_MAP
    if not path.is_file():
        return ()
    synsets = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        fields = line.split(maxsplit=2)
        category_id = read_number(fields[1]) if len(fields) == 3 else None
        if category_id is not None:
            synsets.append(Synset(fields[0], category_id, fields[2].strip()))
        elif fields:
            expected = "a synset id, a number and a name, as in 'n02672831 1 accordion'"
            raise InputError(f"{path}: line {number} is '{line[:60]}', expected {expected}; correct it")
    check_class_table(str(path), [item.category_id for item in synsets], [item.name for item in synsets])
    repeats = first_repeats([item.synset_id for item in synsets])
    if repeats:
        raise InputError(f"{path}: synset {repeats} stands more than once; make it unique")
    return tuple(sorted(synsets, key=lambda item: item.category_id))


def read_ilsvrc(root: Path, split: str) -> RawSplit:
    """Reads one split of an ILSVRC data set.

    Args:
        root: The data folder, with Annotations/, Data/ and ImageSets/ in it.
        split: One of `list_splits`, or ``trainval`` for train and val.

    Returns:
        The images of the split in its order, named relative to Data/DET; ids are positions from 1, which for val are
        the devkit's numbers. The classes are all of the devkit's by number, which are the category ids; without a
        devkit the synset ids of this split, sorted. An object whose synset the devkit does not know is left out with a
        finding a synset.

    Raises:
        InputError: If the split does not exist or is empty, or the devkit's table is faulty.
    """
    reason = recognise(root)
    if reason is None:
        raise InputError(f"{root}: not an ILSVRC data set; expected {LAYOUT}")
    synsets = read_synsets(root)
    listing = _list_images(root, split)
    if synsets:
        names, objects = tuple(item.name for item in synsets), _label_by_synset(listing, synsets)
        synset_ids = tuple(item.synset_id for item in synsets)
    else:
        names, objects = listing.label_by_name()
        synset_ids = names
    label_of = {synset_id: label for label, synset_id in enumerate(synset_ids)}
    unjudged, findings = read_blacklist(root, _number_val_images(root, listing.images), label_of)
    return RawSplit(
        root=root,
        split=split,
        format="ilsvrc",
        reason=reason,
        class_names=names,
        category_ids=tuple(item.category_id for item in synsets) or None,
        notation=NOTATION,
        images=listing.images,
        objects=objects,
        findings=[*listing.findings, *findings],
        left_out=listing.left_out,
        unjudged=unjudged,
    )


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def _label_by_synset(listing: VocListing, synsets: Sequence[Synset]) -> list[RawObject]:
    """The objects of known synsets with their labels; adds one finding for each other synset."""
    label = {item.synset_id: index for index, item in enumerate(synsets)}
    counts = Counter(name for name in listing.object_names if name not in label)
    told: set[str] = set()
    objects = []
    for row, name in zip(listing.objects, listing.object_names, strict=True):
        if name in label:
            objects.append(row._replace(label=label[name]))
        elif name not in told:
            told.add(name)
            image = listing.images[row.image_index]
            more = f", as have {counts[name] - 1} more objects" if counts[name] > 1 else ""
            fault = f"object {row.number} of {image.file_name} has the class '{name}'{more}, not in {_CLASS_MAP}"
            remedy = "correct the name or add it to the table; left out"
            listing.findings.append(Finding("unknown-class", image.label_file, fault, remedy))
    return objects


def _list_images(root: Path, split: str) -> VocListing:
    """Reads the annotation files of a split; whether the images are there is found out when they are opened."""
    names, findings = _names_in_split(root, split)
    listing = VocListing(findings=findings)
    for position, name in enumerate(names, start=1):
        label_file, file_name = f"{_ANNOTATIONS}/{name}.xml", f"{name}{_SUFFIX}"
        annotation = read_annotation(root / label_file, label_file, listing.findings)
        if annotation is None:
            listing.left_out.append(position)
        else:
            path = root / _IMAGES / file_name
            listing.add(ListedImage(position, path, file_name, label_file, annotation.size_hw), annotation)
    if listing.images and not any(is_file(root / image.label_file) for image in listing.images):
        message = f"no image of split '{split}' has a label file ({listing.images[0].label_file}, ...)"
        remedy = "unpack the annotations there; counted as images without objects"
        listing.findings.append(Finding("no-label-file", _ANNOTATIONS, message, remedy))
    return listing


def _names_in_split(root: Path, split: str) -> tuple[list[str], list[Finding]]:
    """The images of a split, relative to Data/DET and without suffix, and what is wrong with its list.

    A folder without a list is a split of all its images.
    """
    folders = _folders(root / _IMAGES)
    list_file = f"{_LISTS}/{split}.txt"
    if is_inside(split) and is_file(root / list_file):
        names, findings = _read_list(root / list_file, list_file)
        if split in folders:
            return [f"{split}/{name}" for name in names], findings
        return [_find_folder(root, name, folders) for name in names], findings
    if split in folders:
        return _list_folder(root, split), []
    known = list_splits(root)
    has_both = {"train", "val"}.issubset(known)
    if split == TRAINVAL and has_both:
        (train, train_findings), (val, val_findings) = (_names_in_split(root, part) for part in ("train", "val"))
        return [*train, *val], [*train_findings, *val_findings]
    choices = (*known, TRAINVAL) if has_both and TRAINVAL not in known else known
    raise InputError(f"{root}: no split '{split}' in {_LISTS}/ or {_IMAGES}/; {choose_split(choices)}")


def _number_val_images(root: Path, images: Sequence[ListedImage]) -> dict[int, int]:
    """The number that the list of val gives an image -> its image id, of the images of a split."""
    image_ids = {image.file_name: image.image_id for image in images if image.file_name.startswith(f"{_VAL}/")}
    list_file = root / _LISTS / f"{_VAL}.txt"
    if not image_ids or not is_file(list_file):
        return {}
    numbers = {}
    for line in _lines_of(list_file):
        column, name = _SECOND_COLUMN.search(line), f"{_VAL}/{_name_in(line)}{_SUFFIX}"
        number = read_number(column[1]) if column else None
        if number is not None and name in image_ids:
            numbers[number] = image_ids[name]
    return numbers


def _list_folder(root: Path, split: str) -> list[str]:
    images = find_images(root / _IMAGES / split, recursive=True)
    names = (relative_name(path, root / _IMAGES) for path in images if path.suffix == _SUFFIX)
    return [name.removesuffix(_SUFFIX) for name in names]


def _read_list(path: Path, list_file: str) -> tuple[list[str], list[Finding]]:
    """The names of a list, without its second column and without ``.JPEG``, and what is wrong with the others."""
    return check_listed_names([_name_in(line) for line in _lines_of(path)], list_file)


def _lines_of(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _name_in(line: str) -> str:
    return _SECOND_COLUMN.sub("", line).removesuffix(_SUFFIX)


def _find_folder(root: Path, name: str, folders: Sequence[str]) -> str:
    """The name below Data/DET of an image in a list of the user's own, which may name images of every folder."""
    places = (f"{folder}/{name}" for folder in folders)
    return next((place for place in places if is_file(root / _IMAGES / f"{place}{_SUFFIX}")), name)

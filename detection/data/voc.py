"""Reads data sets in the layout of Pascal VOC: one xml file an image, splits as lists of names.

Where there is no Annotations/, xml and images may lie side by side, as labelImg and Roboflow leave them.

A VOC box is 1-based and inclusive; it enters as (xmin - 1, ymin - 1, xmax, ymax), which is why plain IoU here equals
VOC's IoU with its "+ 1". ``difficult`` objects are marked to be ignored. An image is found by the name in the split,
else by ``<filename>``, and never outside the data folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from detection.data.image import IMAGE_SUFFIXES, find_images, is_hidden
from detection.data.raw import ListedImage, RawSplit, choose_split, first_names, is_file, is_inside, relative_name
from detection.data.records import Finding
from detection.data.voc_listing import NOTATION, VocListing, check_listed_names, names_in_line, read_annotation
from detection.data.voc_xml import looks_like_voc
from detection.errors import InputError

LAYOUT = (
    "Annotations/*.xml, JPEGImages/ (or images/) and ImageSets/Main/<split>.txt; "
    "or each xml beside its image, in the folder itself or in <split>/"
)
ALL = "all"  # The split of every annotation file, listed or not.

_ANNOTATION_FOLDERS = ("Annotations", "annotations")
_IMAGE_FOLDERS = ("JPEGImages", "images")
_SPLIT_FOLDER = "ImageSets/Main"
_PROBED_FILES = 20


def recognise(root: Path) -> str | None:
    """Says why a folder is a VOC data set; None if it is not."""
    annotations = _annotation_folder(root)
    if annotations is None:
        folders = ["the folder itself" if path == root else f"{name}/" for name, path in _side_by_side(root).items()]
        return f"VOC: has xml files beside the images in {first_names(folders)}" if folders else None
    lists = f"{_SPLIT_FOLDER}/" if (root / _SPLIT_FOLDER).is_dir() else f"no {_SPLIT_FOLDER}/"
    return f"VOC: has {annotations.name}/*.xml and {lists}"


def list_splits(root: Path) -> tuple[str, ...]:
    """Names the splits, sorted.

    Args:
        root: The data folder.

    Returns:
        The lists in ImageSets/Main without VOC's lists of one class; without lists the folders in which xml and images
        lie side by side, else only ``all``.
    """
    stems = sorted(path.stem for path in (root / _SPLIT_FOLDER).glob("*.txt"))
    splits = tuple(stem for stem in stems if not any(stem.endswith(f"_{other}") for other in stems))
    return splits or tuple(_side_by_side(root)) or (ALL,)


def read_voc(root: Path, split: str) -> RawSplit:
    """Reads one split of a VOC data set.

    Args:
        root: The data folder.
        split: One of `list_splits`, or ``all`` for every annotation file.

    Returns:
        The images of the split in its order, with positions from 1 as ids; the classes of this split alone, sorted. An
        image without an annotation file counts as one without objects.

    Raises:
        InputError: If the split does not exist or is empty.
    """
    reason = recognise(root)
    if reason is None:
        raise InputError(f"{root}: not a VOC data set; expected {LAYOUT}")
    listing = _list_images(root, split)
    names, objects = listing.label_by_name()
    return RawSplit(
        root=root,
        split=split,
        format="voc",
        reason=reason,
        class_names=names,
        category_ids=None,
        notation=NOTATION,
        images=listing.images,
        objects=objects,
        findings=listing.findings,
        left_out=listing.left_out,
    )


def _annotation_folder(root: Path) -> Path | None:
    """The folder of the xml files; where other folders of VOC stand beside it they may lie in subfolders of it."""
    folders = [root / name for name in _ANNOTATION_FOLDERS]
    found = next((folder for folder in folders if any(folder.glob("*.xml"))), None)
    if found is None and any((root / name).is_dir() for name in (_SPLIT_FOLDER, *_IMAGE_FOLDERS)):
        found = next((folder for folder in folders if any(folder.rglob("*.xml"))), None)
    return found


def _side_by_side(root: Path) -> dict[str, Path]:
    """Split -> folder, where xml and images lie together: labelImg leaves one folder, Roboflow one a split."""
    if not root.is_dir() or _annotation_folder(root) is not None:
        return {}
    if _holds_both(root):
        return {ALL: root}
    return {folder.name: folder for folder in sorted(root.iterdir()) if folder.is_dir() and _holds_both(folder)}


def _holds_both(folder: Path) -> bool:
    """Whether a folder holds xml files of the format, not any others, and images."""
    has_labels = any(looks_like_voc(path) for path in islice(folder.glob("*.xml"), _PROBED_FILES) if path.is_file())
    return has_labels and any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())


class _Folders(NamedTuple):
    """Where the files of a split lie."""

    annotations: Path
    images: Path


def _find_folders(root: Path, split: str) -> _Folders:
    annotations = _annotation_folder(root)
    if annotations is None:
        folder = _side_by_side(root).get(split, root)
        return _Folders(folder, folder)
    return _Folders(annotations, next((root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()), root))


def _list_images(root: Path, split: str) -> VocListing:
    folders = _find_folders(root, split)
    path_of = _index_images(folders.images)
    names, findings = _names_in_split(root, split, folders.annotations)
    listing = VocListing(findings=findings)
    for position, name in enumerate(names, start=1):
        label_path = folders.annotations / f"{name}.xml"
        label_file = relative_name(label_path, root)
        annotation = read_annotation(label_path, label_file, listing.findings)
        if annotation is None:
            listing.left_out.append(position)
            continue
        path = _find_image(name, annotation.file_name, path_of)
        if path is None:
            place = "the data folder" if folders.images == root else f"{relative_name(folders.images, root)}/"
            listing.findings.append(_missing_image(name, annotation.file_name, label_file, place))
            listing.left_out.append(position)
            continue
        if not is_file(label_path):
            remedy = "label the image or take it from the split; counted as an image without objects"
            listing.findings.append(Finding("no-label-file", label_file, "no label file", remedy))
        file_name = relative_name(path, folders.images)
        listing.add(ListedImage(position, path, file_name, label_file, annotation.size_hw), annotation)
    return listing


def _names_in_split(root: Path, split: str, annotations: Path) -> tuple[list[str], list[Finding]]:
    """The distinct names that a split lists, and what is wrong with the list."""
    path = root / _SPLIT_FOLDER / f"{split}.txt"
    if not is_inside(split) or not is_file(path):
        if split not in (ALL, *_side_by_side(root)):
            lists = f" in {_SPLIT_FOLDER}/" if (root / _SPLIT_FOLDER).is_dir() else ""
            choices = tuple(dict.fromkeys((*list_splits(root), ALL)))
            raise InputError(f"{root}: no split '{split}'{lists}; {choose_split(choices)}")
        files = (file for file in annotations.rglob("*.xml") if not is_hidden(file, annotations))  # ._a.xml of a Mac
        return sorted(relative_name(file, annotations)[: -len(".xml")] for file in files), []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    listed = [_listed_name(line.strip(), annotations) for line in lines if line.strip()]
    return check_listed_names(listed, relative_name(path, root))


def _listed_name(line: str, annotations: Path) -> str:
    """The name in a line of a list; may hold blanks and dots: one that has an annotation file as it stands is kept."""
    names = names_in_line(line)
    there = (name for name in names if os.path.lexists(annotations / f"{name}.xml"))  # be it no file, which is told
    return next(there, names[1])


def _index_images(folder: Path) -> dict[str, Path]:
    """Finds each image under its name relative to ``folder``, with and without its suffix."""
    index: dict[str, Path] = {}
    for path in find_images(folder, recursive=True):
        name = relative_name(path, folder)
        index[name] = path
        index.setdefault(name[: -len(path.suffix)], path)
    return index


def _find_image(name: str, file_name: str, path_of: Mapping[str, Path]) -> Path | None:
    """Finds an image by its name in the split, else by ``<filename>``; the index holds only what lies inside."""
    return path_of.get(name) or path_of.get(file_name)


def _missing_image(name: str, file_name: str, label_file: str, place: str) -> Finding:
    also = f" and no '{file_name}'" if file_name else ""
    message = f"its image is missing: in {place} there is no '{name}' with an image suffix{also}"
    return Finding("missing-image", label_file, message, "add the image; left out")

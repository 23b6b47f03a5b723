"""Reads a data set of any known format; which one is found out by looking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.data import coco, coco_files, ilsvrc, voc, yolo
from detection.data.assemble import assemble
from detection.data.classes import UnknownClasses
from detection.data.raw import RawSplit, first_names
from detection.data.records import DetectionData
from detection.data.shares import parse_share, take_share
from detection.errors import InputError

_SHOWN_ENTRIES = 12


@dataclass(frozen=True)
class Format:
    """A format of data sets.

    Attributes:
        name: What people call it.
        layout: The files that it needs.
        recognise: Says why a folder is of this format; None if it is not.
        list_splits: Names the splits of a folder.
        read: Reads one of them as it is written.
    """

    name: str
    layout: str
    recognise: Callable[[Path], str | None]
    list_splits: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, str], RawSplit]


FORMATS = (
    Format("VOC", voc.LAYOUT, voc.recognise, voc.list_splits, voc.read_voc),
    Format("COCO", coco_files.LAYOUT, coco.recognise, coco_files.list_splits, coco.read_coco),
    Format("YOLO", yolo.LAYOUT, yolo.recognise, yolo.list_splits, yolo.read_yolo),
    Format("ILSVRC", ilsvrc.LAYOUT, ilsvrc.recognise, ilsvrc.list_splits, ilsvrc.read_ilsvrc),
)


def find_format(root: Path) -> Format:
    """Finds out which format a data set has.

    Args:
        root: The data folder, or a COCO json or YOLO yaml, which settles the question where a folder holds several.

    Returns:
        The one format that recognises it.

    Raises:
        InputError: If none or more than one does; the message tells what each needs and what was found.
    """
    if not root.exists():
        raise InputError(f"{root}: no such file or folder; give the folder of a data set")
    reasons = {known: known.recognise(root) for known in FORMATS}
    fitting = [known for known, reason in reasons.items() if reason is not None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        found = "; ".join(str(reasons[known]) for known in fitting)
        raise InputError(f"{root}: more than one format fits ({found}); give the json or yaml itself, or move one away")
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir()) if root.is_dir() else [root.name]
    needs = "".join(f"\n  {known.name}: {known.layout}" for known in FORMATS)
    found = first_names(entries, _SHOWN_ENTRIES) or "nothing"
    raise InputError(f"{root}: no known data set; found {found}{_hint(root)}; expected one of{needs}")


def _hint(root: Path) -> str:
    """What was probably meant by a path that is no data set, for a message; empty if nothing tells."""
    entries = sorted(path for path in root.iterdir() if path.name[0] != ".") if root.is_dir() else [root]
    inner = [str(path) for path in entries if path.is_dir() and any(known.recognise(path) for known in FORMATS)]
    if inner:
        return f"; looks like a data set one level down: {first_names(inner)}"
    is_packed = bool(entries) and all(path.suffix.lower() == ".zip" for path in entries)
    return "; unpack the zip first" if is_packed else ""


def load_dataset(
    root: Path,
    split: str,
    class_names: Sequence[str] | None = None,
    unknown_classes: UnknownClasses = "error",
) -> DetectionData:
    """Reads and checks one split of a data set of any known format.

    Args:
        root: The data folder, or a COCO json or YOLO yaml.
        split: One of `list_splits`, or a share of one: ``all:80%``, ``all:-20%``; see `detection.data.shares`.
        class_names: C names in label order, those of a model or of the training split; objects are matched by name.
            None takes the names of this split: VOC sorted, COCO, YOLO and ILSVRC in the order of their files.
        unknown_classes: Whether an object of another class is an error or is left out with a finding.

    Returns:
        The split: every image that can be opened, boxes inside their images, and everything that was wrong. Images
        without objects are kept; there may be no image left.

    Raises:
        InputError: If the format or the split cannot be found, the split lists no image, or an object has an unknown
            class.
    """
    known, share = find_format(root), parse_share(split)
    if share is None:
        return assemble(known.read(root, split), class_names, unknown_classes)
    part = share.part or _only_part(known.list_splits(root), root, split)
    return take_share(assemble(known.read(root, part), class_names, unknown_classes), share)


def _only_part(parts: Sequence[str], root: Path, split: str) -> str:
    if len(parts) != 1:
        raise InputError(f"{root}: has the parts {', '.join(parts)}; say of which: {parts[0]}:{split}")
    return parts[0]


def list_splits(root: Path) -> tuple[str, ...]:
    """Names the splits of a data set of any known format.

    Args:
        root: The data folder, or a COCO json or YOLO yaml.

    Returns:
        The names; VOC without ImageSets has only ``all``.

    Raises:
        InputError: If the format cannot be found.
    """
    return find_format(root).list_splits(root)

"""Looks a whole data set over before anyone trains on it: every split read, every image decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection.data.assemble import unreadable_image
from detection.data.discover import list_splits, load_dataset
from detection.data.image import read_image
from detection.data.records import DetectionData, Finding
from detection.errors import InputError

# Splits that hold others on purpose: VOC's trainval is train and val.
_UNIONS: Mapping[str, frozenset[str]] = {"trainval": frozenset({"train", "val"})}
_REFERENCE_SPLITS = ("trainval", "train")


@dataclass(frozen=True)
class SplitSummary:
    """The figures of one split.

    Attributes:
        split: Its name.
        num_images: Images that can be opened.
        num_empty_images: Those without a single object.
        num_objects: Objects after the check, ignored ones too.
        num_ignored: Crowd and difficult objects.
        objects_per_class: Class name -> number of objects, in label order.
        smallest_box_wh: Width and height in pixels of the box with the smallest area; None without boxes.
        largest_box_wh: The same of the largest.
    """

    split: str
    num_images: int
    num_empty_images: int
    num_objects: int
    num_ignored: int
    objects_per_class: Mapping[str, int]
    smallest_box_wh: tuple[float, float] | None
    largest_box_wh: tuple[float, float] | None


@dataclass(frozen=True)
class Audit:
    """What the audit of a data set found.

    Attributes:
        root: The data set.
        format: ``voc``, ``coco``, ``yolo`` or ``ilsvrc``.
        reason: Why it was taken for that format.
        splits: The figures, one entry a split.
        findings: Everything that is wrong, each once.
    """

    root: Path
    format: str
    reason: str
    splits: tuple[SplitSummary, ...]
    findings: tuple[Finding, ...]


def audit_dataset(
    root: Path, splits: Sequence[str] = (), *, on_image: Callable[[Path], None] = lambda path: None
) -> Audit:
    """Reads splits of a data set and decodes every image in them.

    Args:
        root: The data folder, or a COCO json or YOLO yaml.
        splits: Which splits; empty for all that can be read.
        on_image: Called with each image after it was decoded, to show progress.

    Returns:
        The figures and all findings: those of the readers, images that do not decode, classes that only some splits
        have, images that stand in more than one split, and splits that cannot be read if none was asked for.

    Raises:
        InputError: If the format, a split that was asked for or every split cannot be read at all.
    """
    parts, findings = _read_splits(root, splits)
    digests: dict[Path, str] = {}
    findings += [finding for part in parts for finding in part.findings]
    for part in parts:
        for image in part.images:
            if image.path not in digests:
                findings += _decode(image.path, root)
                digests[image.path] = hashlib.blake2b(image.path.read_bytes()).hexdigest()
                on_image(image.path)
    findings += [*find_foreign_classes(parts), *find_shared_images(parts, digests)]
    return Audit(
        root=root,
        format=parts[0].format,
        reason=parts[0].reason,
        splits=tuple(summarize_split(part) for part in parts),
        findings=tuple(dict.fromkeys(findings)),
    )


def _read_splits(root: Path, splits: Sequence[str]) -> tuple[list[DetectionData], list[Finding]]:
    """Reads the splits that were asked for, else all that can be read, with a finding for each that cannot."""
    if splits:
        return [load_dataset(root, split) for split in splits], []
    parts: list[DetectionData] = []
    failures: dict[str, InputError] = {}
    for split in list_splits(root):
        try:
            parts.append(load_dataset(root, split))
        except InputError as error:
            failures[split] = error
    if not parts:
        raise next(iter(failures.values()))
    remedy = "the other splits were checked"
    findings = [
        Finding("unreadable-split", f"split {split}", str(error).removeprefix(f"{root}: "), remedy)
        for split, error in failures.items()
    ]
    return parts, findings


def summarize_split(data: DetectionData) -> SplitSummary:
    """Counts images and objects of a split."""
    labels = np.concatenate([np.zeros(0, np.int64), *(image.labels for image in data.images)])
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(image.boxes for image in data.images)])
    counts = np.bincount(labels, minlength=len(data.class_names))
    sides = boxes[:, 2:] - boxes[:, :2]
    by_area = np.argsort(sides.prod(axis=1), kind="stable")
    return SplitSummary(
        split=data.split,
        num_images=len(data.images),
        num_empty_images=sum(len(image.boxes) == 0 for image in data.images),
        num_objects=len(boxes),
        num_ignored=sum(int(image.ignore.sum()) for image in data.images),
        objects_per_class={name: int(count) for name, count in zip(data.class_names, counts, strict=True)},
        smallest_box_wh=(float(sides[by_area[0], 0]), float(sides[by_area[0], 1])) if len(boxes) else None,
        largest_box_wh=(float(sides[by_area[-1], 0]), float(sides[by_area[-1], 1])) if len(boxes) else None,
    )


def find_foreign_classes(parts: Sequence[DetectionData]) -> list[Finding]:
    """Finds classes that a split has but the training split has not: a model trained on it cannot know them.

    Args:
        parts: The splits. The reference is ``trainval`` or ``train``, else the first.

    Returns:
        One finding a split that has such classes.
    """
    by_name = {part.split: part for part in parts}
    reference = next((by_name[name] for name in _REFERENCE_SPLITS if name in by_name), parts[0])
    findings = []
    for part in parts:
        foreign = [name for name in part.class_names if name not in reference.class_names]
        if foreign:
            message = f"has classes that split '{reference.split}' has not: {', '.join(foreign)}"
            remedy = (
                f"correct the names, or add such objects; '{reference.split}' has {', '.join(reference.class_names)}"
            )
            findings.append(Finding("foreign-class", f"split {part.split}", message, remedy))
    return findings


def find_shared_images(parts: Sequence[DetectionData], digests: Mapping[Path, str]) -> list[Finding]:
    """Finds images with the same bytes in two splits: a score on the one is then no proof of what the other taught.

    Args:
        parts: The splits; ``trainval`` may hold ``train`` and ``val``.
        digests: Content digest of every image.

    Returns:
        One finding a pair of splits and image.
    """
    findings = []
    for position, part in enumerate(parts):
        image_of = {digests[image.path]: image for image in part.images}
        for other in parts[position + 1 :]:
            if _is_union(part.split, other.split):
                continue
            for image in other.images:
                twin = image_of.get(digests[image.path])
                if twin is not None:
                    message = f"split '{other.split}' has the same image as '{twin.file_name}' in split '{part.split}'"
                    findings.append(Finding("shared-image", image.file_name, message, "keep it in one split only"))
    return findings


def _is_union(split: str, other: str) -> bool:
    return split in _UNIONS.get(other, ()) or other in _UNIONS.get(split, ())


def _decode(path: Path, root: Path) -> Iterable[Finding]:
    """Decodes an image whose header was in order; yields why it cannot be, if so."""
    try:
        read_image(path)
    except InputError as error:
        yield unreadable_image(path, root, error)

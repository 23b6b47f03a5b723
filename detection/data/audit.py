"""Looks a whole data set over before anyone trains on it: every split read, every image decoded and compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detection.data.assemble import unreadable_image
from detection.data.class_drift import find_class_drift
from detection.data.discover import list_splits, load_dataset
from detection.data.duplicates import Picture, find_duplicates, fingerprint
from detection.data.image import decode_image
from detection.data.records import DetectionData, Finding
from detection.data.statistics import SplitSummary, summarize_split
from detection.data.strays import find_strays
from detection.data.twin_boxes import find_twin_boxes
from detection.errors import InputError

_MAX_THREADS = 4  # Each may hold a decoded image, which may be large.


@dataclass(frozen=True)
class Audit:
    """What the audit of a data set found.

    Attributes:
        root: The data set.
        format: ``voc``, ``coco``, ``yolo`` or ``ilsvrc``.
        reason: Why it was taken for that format.
        splits: The figures, one entry a split.
        findings: Everything that is wrong, each once.
        parts: The splits themselves, as training would read them.
        pictures: What is known of each image that decodes.
    """

    root: Path
    format: str
    reason: str
    splits: tuple[SplitSummary, ...]
    findings: tuple[Finding, ...]
    parts: tuple[DetectionData, ...]
    pictures: Mapping[Path, Picture]

    def to_document(self) -> dict[str, Any]:
        """The figures and findings for a JSON file."""
        return {
            "root": str(self.root),
            "format": self.format,
            "reason": self.reason,
            "splits": [asdict(summary) for summary in self.splits],
            "findings": [asdict(finding) for finding in self.findings],
        }


def audit_dataset(
    root: Path,
    splits: Sequence[str] = (),
    *,
    on_split: Callable[[str], None] = lambda split: None,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> Audit:
    """Reads splits of a data set, decodes every image in them and compares them with each other.

    A bad file is a finding and ends nothing.

    Args:
        root: The data folder, or a COCO json or YOLO yaml.
        splits: Which splits; empty for all that can be read.
        on_split: Called with each split before its labels are read.
        on_image: Called after each image with the numbers of images done and in all.

    Returns:
        The figures and all findings: those of the readers, images that do not decode, classes that do not fit
        together, boxes that probably mean one object, repeated images, and, if no split was asked for, files that no
        split uses and splits that cannot be read.

    Raises:
        InputError: If the format, a split that was asked for or every split cannot be read at all.
    """
    parts, findings = _read_splits(root, splits, on_split)
    is_whole = not splits and not findings
    findings += [finding for part in parts for finding in part.findings]
    pictures: dict[Path, Picture] = {}
    paths = list(dict.fromkeys(image.path for part in parts for image in part.images))
    for done, (path, looked) in enumerate(_look_at_each(paths), start=1):
        if isinstance(looked, Picture):
            pictures[path] = looked
        else:
            findings.append(unreadable_image(path, root, looked))
        on_image(done, len(paths))
    if is_whole:
        findings += find_strays(root, parts, findings)
    findings += [*find_class_drift(parts), *find_twin_boxes(parts), *find_duplicates(parts, pictures)]
    return Audit(
        root=root,
        format=parts[0].format,
        reason=parts[0].reason,
        splits=tuple(summarize_split(part) for part in parts),
        findings=tuple(dict.fromkeys(findings)),
        parts=tuple(parts),
        pictures=pictures,
    )


def _read_splits(
    root: Path, splits: Sequence[str], on_split: Callable[[str], None]
) -> tuple[list[DetectionData], list[Finding]]:
    """Reads the splits that were asked for, else all that can be read, with a finding for each that cannot."""
    parts: list[DetectionData] = []
    failures: dict[str, InputError | OSError] = {}
    for split in splits or list_splits(root):
        on_split(split)
        try:
            parts.append(load_dataset(root, split))
        except (InputError, OSError) as error:
            failures[split] = error
            if splits:
                raise
    if not parts:
        raise next(iter(failures.values()))
    remedy = "the other splits were checked"
    findings = [
        Finding("unreadable-split", f"split {split}", str(error).removeprefix(f"{root}: "), remedy)
        for split, error in failures.items()
    ]
    return parts, findings


def _look_at_each(paths: Sequence[Path]) -> Iterator[tuple[Path, Picture | InputError]]:
    """Decodes images in a few threads; yields them in order."""
    pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
    try:
        yield from zip(paths, pool.map(_look_at, paths), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at(path: Path) -> Picture | InputError:
    """Decodes an image whose header was in order; the error of one that cannot be decoded is the answer."""
    try:
        content = path.read_bytes()
        return Picture(hashlib.blake2b(content, digest_size=16).digest(), fingerprint(decode_image(content, str(path))))
    except InputError as error:
        return error
    except OSError as error:
        return InputError(f"{path}: {error.strerror}; give a readable image file")
    except MemoryError:
        return InputError(f"{path}: no memory to read it; shrink the image or cut it into tiles")

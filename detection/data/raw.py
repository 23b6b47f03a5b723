"""What the files of a split say, before anything is checked. Readers write it, `assemble` reads it.

Legend: N objects of the split, I images of the split, C classes of the files.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from detection.data.records import Finding

Float64Array: TypeAlias = npt.NDArray[np.float64]
Int64Array: TypeAlias = npt.NDArray[np.int64]


class ListedImage(NamedTuple):
    """An image that a split names; nobody has looked at the file yet.

    Attributes:
        image_id: The id of the data set, or the 1-based position in the split.
        path: Where the image lies.
        file_name: Name relative to the image folder, with forward slashes.
        label_file: The file that holds its objects, relative to the data folder.
        label_size_hw: Height and width that the label file claims; None if it claims none.
    """

    image_id: int
    path: Path
    file_name: str
    label_file: str
    label_size_hw: tuple[int, int] | None


class RawObject(NamedTuple):
    """One object as it is written.

    Attributes:
        image_index: Row of its image in the split.
        number: What the user finds it by: position, annotation id or line.
        label: Index into the class names of the files.
        values: The four numbers of its box, in the notation of the format.
        ignore: Crowd, difficult or "ignore".
        area: Object area in square pixels; NaN if the file tells none.
    """

    image_index: int
    number: int
    label: int
    values: tuple[float, float, float, float]
    ignore: bool = False
    area: float = math.nan


@dataclass(frozen=True)
class BoxNotation:
    """How a format writes a box.

    Attributes:
        noun: What an object is called in messages; its number follows.
        columns: Names of the four values, in their order.
        to_xyxy: Maps (N, 4) values and the (N, 2) height and width of each object's image to (N, 4) pixel boxes.
        mistaken_for: The notation that people write into this format by mistake.
    """

    noun: str
    columns: tuple[str, str, str, str]
    to_xyxy: Callable[[Float64Array, Int64Array], Float64Array]
    mistaken_for: BoxNotation | None = None

    def describe(self, values: Sequence[float]) -> str:
        """Writes a box out with its column names, as in ``xmin 52, ymin 10, xmax 40, ymax 90``."""
        return ", ".join(f"{column} {value:.10g}" for column, value in zip(self.columns, values, strict=True))


@dataclass(frozen=True)
class RawSplit:
    """Everything that the files of one split say.

    Attributes:
        root: The data folder.
        split: The split that was asked for.
        format: ``voc``, ``coco``, ``yolo`` or ``ilsvrc``.
        reason: Why the folder was taken for that format.
        class_names: C names of the files; a raw label indexes into them.
        category_ids: C ids of the files; None if the format knows names only.
        notation: How the boxes are written.
        images: I images, in the order of the split.
        objects: N objects, in any order.
        findings: The faults that the reader met.
        groups: Id -> name of categories that are no classes and only group others.
        other_ids: Id of a further entry of an image file -> the id of its image.
        left_out: Ids of images that were left out, as they are nowhere or their label file cannot be read.
        unjudged: (image id, raw label) of the classes that ILSVRC's devkit does not judge on an image.
    """

    root: Path
    split: str
    format: str
    reason: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None
    notation: BoxNotation
    images: Sequence[ListedImage]
    objects: Sequence[RawObject]
    findings: Sequence[Finding]
    groups: Mapping[int, str] = field(default_factory=dict)
    other_ids: Mapping[int, int] = field(default_factory=dict)
    left_out: Sequence[int] = ()
    unjudged: Sequence[tuple[int, int]] = ()

    def locate(self, row: RawObject) -> str:
        """Names an object in messages, as in ``object 3 of a.jpg``."""
        return f"{self.notation.noun} {row.number} of {self.images[row.image_index].file_name}"


def is_inside(name: str) -> bool:
    """Whether a file name from a label file stays inside the folder it is relative to."""
    windows = PureWindowsPath(name)
    leaves = windows.drive or windows.root or ".." in windows.parts or "\0" in name
    return bool(name) and not leaves and not PurePosixPath(name).is_absolute()


def is_file(path: Path) -> bool:
    """Whether there is such a file; of a name that no file can bear, as one of 300 letters, ``Path.is_file`` raises."""
    return os.path.isfile(path)


def exists(path: Path) -> bool:
    """Whether there is such a file or folder, no device or pipe; see ``is_file`` for names that cannot be."""
    return os.path.isfile(path) or os.path.isdir(path)


def is_no_file(path: Path) -> bool:
    """Whether something of this name is there that is no file: a folder, a pipe, a link to nothing."""
    return os.path.lexists(path) and not os.path.isfile(path)


def read_label_file(path: Path, label_file: str, findings: list[Finding]) -> bytes | None:
    """The content of a label file that is there; None, and a finding, where it cannot be read or is no file."""
    try:
        if is_no_file(path):  # a pipe would be waited for
            raise OSError("is no file")
        return path.read_bytes()
    except OSError as fault:
        remedy = "make it a readable file; its image is left out"
        findings.append(Finding("unreadable-label", label_file, fault.strerror or str(fault), remedy))
        return None


def relative_name(path: Path, folder: Path) -> str:
    """The path relative to ``folder`` with forward slashes, or the whole path if it lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def first_names(names: Sequence[str], count: int = 3) -> str:
    """The first few of many names for a message, as in ``a.jpg, b.jpg, c.jpg and 9 more``."""
    shown = ", ".join(names[:count])
    return shown if len(names) <= count else f"{shown} and {len(names) - count} more"


def first_repeats(names: Sequence[str]) -> str:
    """The first few names that stand more than once, for a message; empty if all differ."""
    return first_names([name for name, count in Counter(names).items() if count > 1])


def choose_split(splits: Sequence[str]) -> str:
    """What to do where the split that was asked for does not exist, for a message."""
    return f"choose one of: {', '.join(splits) or 'none'}; name one with --split"


def absolute_path(path: Path) -> Path:
    """The absolute path with ``..`` folded and links not followed: what to compare of paths written in two ways."""
    return Path(os.path.abspath(path))

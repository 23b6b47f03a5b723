"""Shares of a part, for data that nobody has divided: some images to learn from, the others to judge on.

``all:80%`` is four fifths of the images of ``all`` and ``all:-20%`` the rest; without a name it is the only part. Which
images those are follows from the names of their files, first without folders, so it is the same for every command,
machine and format; a copy whose images were named anew has shares of its own.
"""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import NamedTuple

from detection.data.records import DetectionData, ImageRecord
from detection.errors import InputError

_SHARE = re.compile(r"(?:(?P<part>.+):)?(?P<sign>-?)(?P<percent>\d+)%", re.DOTALL)


class Share(NamedTuple):
    """What ``part:percent%`` asks for.

    Attributes:
        part: Name of the part; None for the only one.
        percent: In 1 to 99.
        rest: Whether it is counted from the end, ``-20%``: what ``80%`` leaves.
    """

    part: str | None
    percent: int
    rest: bool

    def overlaps(self, other: Share) -> bool:
        """Whether two shares of the same part have images in common."""
        return self.rest == other.rest or self.percent + other.percent > 100


def parse_share(split: str) -> Share | None:
    """Reads ``all:80%``, ``all:-20%``, ``80%`` or ``-20%``; None for a plain name.

    Raises:
        InputError: If the share would be nothing or everything.
    """
    match = _SHARE.fullmatch(split)
    if match is None:
        return None
    percent = int(match["percent"])
    if not 1 <= percent <= 99:
        raise InputError(f"split {split!r}: a share lies between 1% and 99%, for example 80% and, for the rest, -20%")
    return Share(match["part"], percent, bool(match["sign"]))


def take_share(data: DetectionData, share: Share) -> DetectionData:
    """The images of a share, in the order of the part.

    Args:
        data: N images of the whole part.
        share: How many, from which end.

    Returns:
        The data with N percent / 100 of them, rounded; a share and its rest hold each image once. Classes and findings
        are those of the whole part.
    """
    order = sorted(range(len(data.images)), key=lambda row: _place(data.images[row]))
    first = 100 - share.percent if share.rest else share.percent
    cut = (len(order) * first + 50) // 100
    rows = sorted(order[cut:] if share.rest else order[:cut])
    split = f"{data.split}:{'-' * share.rest}{share.percent}%"
    return replace(data, split=split, images=tuple(data.images[row] for row in rows))


def _place(record: ImageRecord) -> tuple[str, str]:
    """Where an image stands when all are shuffled, whatever the others are; formats tell of folders differently."""
    return _digest(PurePosixPath(record.file_name).name), _digest(record.file_name)


def _digest(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogateescape")).hexdigest()

"""Which images a model learnt from, small enough for the header of its file: a bottom-k sketch of names and sizes.

Of up to ``SKETCH`` images every one's digest is kept, of more the smallest digests: they are a fair sample, and the
same images of another set would be among them in the same share. The folder plays no part, so a data set may have moved
or be laid out otherwise; the size of the file tells ``train/0.jpg`` from ``val/0.jpg``.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SKETCH = 4096
_DIGITS = 12  # Hexadecimal, of a digest: among a million images, two are alike in one of hundreds of data sets.


class Known(NamedTuple):
    """How many images of a sample were learnt from.

    Attributes:
        learnt: How many were learnt from.
        sample: How many were looked up.
    """

    learnt: int
    sample: int


def sketch_images(paths: Iterable[Path]) -> str:
    """The digests of image files, smallest first, one after the other without a break."""
    return "".join(sorted({_digest(path) for path in paths})[:SKETCH])


def count_known(sketch: str, paths: Iterable[Path]) -> Known:
    """Looks image files up in a sketch; of a sketch that is full, only those that would be in it."""
    digests = [sketch[start : start + _DIGITS] for start in range(0, len(sketch), _DIGITS)]
    asked = {_digest(path) for path in paths}
    if len(digests) == SKETCH:
        asked = {digest for digest in asked if digest <= digests[-1]}
    return Known(sum(_holds(digests, digest) for digest in asked), len(asked))


def _holds(digests: list[str], digest: str) -> bool:
    place = bisect_left(digests, digest)
    return place < len(digests) and digests[place] == digest


def _digest(path: Path) -> str:
    size = path.stat().st_size if os.path.isfile(path) else None  # it may be gone since it was listed
    return hashlib.sha256(os.fsencode(path.name) + f"\0{size}".encode()).hexdigest()[:_DIGITS]

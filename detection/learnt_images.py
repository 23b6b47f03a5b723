"""Which images a model learnt from, small enough for the header of its file: a bottom-k sketch of their names.

Of up to ``SKETCH`` images every name's digest is kept, of more the smallest ones: they are a fair sample, and the same
images of another set would be among them in the same share.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

SKETCH = 4096
_DIGITS = 12  # Hexadecimal ones of a digest: two of a million names are alike once in hundreds of sets.


class Known(NamedTuple):
    """How many names of a sample are those of images that were learnt from.

    Attributes:
        learnt: So many are.
        sample: So many were looked up.
    """

    learnt: int
    sample: int


def sketch_names(file_names: Iterable[str]) -> str:
    """The digests of names, smallest first, one after the other without a break."""
    return "".join(sorted({_digest(name) for name in file_names})[:SKETCH])


def count_known(sketch: str, file_names: Iterable[str]) -> Known:
    """Looks names up in a sketch; of a sketch that is full, only those that would be in it."""
    digests = [sketch[start : start + _DIGITS] for start in range(0, len(sketch), _DIGITS)]
    asked = {_digest(name) for name in file_names}
    if len(digests) == SKETCH:
        asked = {digest for digest in asked if digest <= digests[-1]}
    return Known(sum(_holds(digests, digest) for digest in asked), len(asked))


def _holds(digests: list[str], digest: str) -> bool:
    place = bisect_left(digests, digest)
    return place < len(digests) and digests[place] == digest


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:_DIGITS]

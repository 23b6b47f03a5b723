"""Disjoint sets as arrays: every element points to one of its set, roots to themselves, no pointer goes up.

Many elements are looked up and many pairs united at once; everything works in place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def root_of(parents: Ints, elements: Ints) -> Ints:
    """The roots of elements, (M,) -> (M,); they point to their roots afterwards."""
    roots = parents[elements]
    while True:
        above = parents[roots]
        if (above == roots).all():
            return roots
        # Every pointer skips one: elements that lie on each other's way halve it together.
        parents[elements] = above
        roots = parents[elements]


def unite(parents: Ints, one: Ints, other: Ints) -> None:
    """Unites the sets of paired roots; the smallest root of each becomes its root.

    Args:
        parents: (N,) pointers.
        one: (M,) roots.
        other: (M,) roots, each to be united with that of the same place.
    """
    while len(one):
        low, high = np.minimum(one, other), np.maximum(one, other)
        parents[high] = low  # of several the last; the others come again
        roots = root_of(parents, np.concatenate([low, high]))
        one, other = roots[: len(low)], roots[len(low) :]
        apart = one != other
        one, other = one[apart], other[apart]

"""The over-segmentation that selective search starts from (Felzenszwalb & Huttenlocher 2004, IJCV 59(2):167-181).

Pixels are joined along edges, the weakest first, where an edge is not stronger than Int(C) + k / |C| of both sides.
Here many edges of nearly equal weight are looked at together, as arrays, and the rejected ones again until none joins
any more. One edge at a time would be the paper's algorithm to the letter; looking at them in `NUM_STEPS` parts
differs from it in some segments in a hundred and takes less than half the time of scikit-image's, which the tests
compare this with.

Legend: N pixels, E edges between neighbours (8 of a pixel), S planes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from proposals.selective_search.colour import Image
from proposals.selective_search.disjoint_sets import root_of, unite

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

SIGMA = 0.8
"""Of the Gaussian that smooths the picture first (the value of both papers)."""

NUM_STEPS = 192
"""In how many parts the edges are looked at."""

_PRUNE_EVERY = 32  # steps; edges that can never join are then left out, which costs as much as some steps
_INDEX_BITS = 32


class Edges(NamedTuple):
    """Neighbouring pixels, the most alike first.

    ``first`` and ``second`` (E,) pixels, row by row; ``weights`` (E,) distance of their smoothed colours, ascending.
    """

    first: Ints
    second: Ints
    weights: Floats


def find_edges(planes: Image) -> Edges:
    """The graph of a picture; the same for every k.

    Args:
        planes: (H, W, S) uint8, S 1 or 3. A single plane counts as three equal ones, as in the released selective
            search, so its edges are sqrt(3) stronger.

    Returns:
        E edges; equal weights in the order right, down, down to the right, down to the left, and row by row.
    """
    height, width, num_planes = planes.shape
    smooth = cv2.GaussianBlur(planes.astype(np.float32), (0, 0), SIGMA, borderType=cv2.BORDER_REPLICATE)
    smooth = smooth.reshape(height, width, num_planes)
    pixels = np.arange(height * width).reshape(height, width)
    shifts = (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    )
    squares = np.concatenate([np.square(smooth[here] - smooth[there]).sum(axis=2).ravel() for here, there in shifts])
    # Floats that are not negative sort as the integers of the same bits. With the index below them all keys differ,
    # so any sort is stable, and that of integers is the fastest.
    keys = (squares.view(np.int32).astype(np.int64) << _INDEX_BITS) | np.arange(len(squares))
    keys.sort()
    order = keys & (2**_INDEX_BITS - 1)
    return Edges(
        np.concatenate([pixels[here].ravel() for here, _ in shifts])[order],
        np.concatenate([pixels[there].ravel() for _, there in shifts])[order],
        np.sqrt(squares[order] * np.float32(3 / num_planes)),
    )


def segment(edges: Edges, size_hw: tuple[int, int], k: float) -> Ints:
    """Parts a picture into connected segments of at least k pixels.

    Args:
        edges: Of the picture.
        size_hw: Its height and width, at least 1.
        k: Preference for large segments, for colours of 0..255. It is also the smallest size, as in the released
            selective search.

    Returns:
        (H, W) int64 labels 0..N-1, none of them empty, each connected through edges or corners of pixels. A picture
        with fewer than k pixels, or of one colour, is one segment.
    """
    labels = _join_alike(edges, math.prod(size_hw), k)
    return _join_small(labels, edges, round(k)).reshape(size_hw)


def _join_alike(edges: Edges, num_pixels: int, k: float) -> Ints:
    """The segments of the paper's criterion: (N,) labels, each the number of one of its pixels."""
    parents = np.arange(num_pixels)
    sizes = np.ones(num_pixels, dtype=np.int64)
    limits = np.full(num_pixels, k, dtype=np.float32)  # Int(C) + k / |C|, of the root of each segment
    scratch = np.empty_like(parents)
    first, second, weights = edges
    at_once = max(1, len(weights) // NUM_STEPS)
    start = step = 0
    while start < len(weights):
        part = slice(start, start + at_once)
        _join_step(parents, sizes, limits, Edges(first[part], second[part], weights[part]), k, scratch)
        start, step = start + at_once, step + 1
        if step % _PRUNE_EVERY == 0 and start < len(weights):
            roots = root_of(parents, np.arange(num_pixels))
            # A segment whose limit is below the weights to come is finished: it joins no more, and only joining would
            # change its limit.
            is_finished = limits < weights[start]
            one, other, rest = roots[first[start:]], roots[second[start:]], weights[start:]
            usable = (one != other) & ~is_finished[one] & ~is_finished[other]
            first, second, weights, start = one[usable], other[usable], rest[usable], 0
    return root_of(parents, np.arange(num_pixels))


def _join_step(parents: Ints, sizes: Ints, limits: Floats, edges: Edges, k: float, scratch: Ints) -> None:
    """Joins along edges of nearly equal weight, in place, until every one that is left is too strong for a side."""
    first, second, weights = edges
    while len(weights):
        one, other = root_of(parents, first), root_of(parents, second)
        differs = one != other
        joins = differs & (weights <= limits[one]) & (weights <= limits[other])
        if not joins.any():
            return
        before = _distinct(np.concatenate([one[joins], other[joins]]), scratch)
        unite(parents, one[joins], other[joins])
        after = root_of(parents, before)
        moved = before != after
        np.add.at(sizes, after[moved], sizes[before[moved]])
        root = parents[one[joins]]
        limits[root] = weights[joins] + k / sizes[root]  # of several edges the last, the strongest, stays
        left = differs & ~joins
        first, second, weights = one[left], other[left], weights[left]


def _distinct(numbers: Ints, scratch: Ints) -> Ints:
    """Each number once; ``scratch`` has a place for every one."""
    places = np.arange(len(numbers))
    scratch[numbers] = places
    return numbers[scratch[numbers] == places]


def _join_small(labels: Ints, edges: Edges, min_size: int) -> Ints:
    """Joins each segment that is too small to the neighbour behind its weakest edge, again and again.

    Args:
        labels: (N,) any numbers below N.
        edges: Of the picture.
        min_size: Pixels of a segment, at least, where it has a neighbour.

    Returns:
        (N,) labels from 0 on, none missing.
    """
    labels, count = _renumber(labels)
    sizes = np.bincount(labels, minlength=count)
    one, other = labels[edges.first], labels[edges.second]
    segments = np.arange(count)  # the segment that each one is a part of now
    while True:
        is_small = sizes < min_size
        useful = (one != other) & (is_small[one] | is_small[other])
        one, other = one[useful], other[useful]
        if not len(one):
            return _renumber(segments[labels])[0]
        weakest = np.minimum(_first_place(one, count), _first_place(other, count))
        chosen = weakest[is_small & (weakest < len(one))]
        parents = np.arange(count)
        unite(parents, one[chosen], other[chosen])
        roots = root_of(parents, np.arange(count))
        sizes = np.bincount(roots, weights=sizes, minlength=count).astype(np.int64)
        one, other, segments = roots[one], roots[other], roots[segments]


def _first_place(values: Ints, count: int) -> Ints:
    """Where each number below ``count`` stands first; behind the end where it does not."""
    place = np.full(count, len(values))
    place[values[::-1]] = np.arange(len(values))[::-1]  # of several the last, which is the first
    return place


def _renumber(labels: Ints) -> tuple[Ints, int]:
    """Numbers from 0 on in the same order, and how many there are."""
    is_used = np.zeros(len(labels), dtype=np.bool_)
    is_used[labels] = True
    numbers = np.cumsum(is_used) - 1
    return numbers[labels], int(numbers[-1]) + 1

"""How alike two regions are, each similarity in [0, 1] (Uijlings et al. 2013, section 3.2).

Legend: M pairs of regions, B bins of a histogram, N regions at the start, R = 2 * N - 1 with all that merging adds.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from proposals.selective_search.features import NUM_COLOUR_BINS, NUM_TEXTURE_BINS
from proposals.selective_search.regions import Ints, Regions
from proposals.selective_search.settings import Measure

Floats = npt.NDArray[np.float64]
Histograms = npt.NDArray[np.float32]

_Kind = TypeVar("_Kind", bound=np.generic)

_XYXY_SIGNS = np.array([-1, -1, 1, 1])


def histogram_similarity(first: Histograms, second: Histograms) -> Histograms:
    """Intersection of histograms whose bins sum to 1: sum over bins of min(a, b); (..., B), (..., B) -> (...)."""
    return np.minimum(first, second).sum(axis=-1)


def size_similarity(joint_sizes: Floats, num_pixels: float) -> Floats:
    """1 - (size a + size b) / size of the picture, so that small regions merge first; (M,) -> (M,)."""
    return 1 - joint_sizes / num_pixels


def fill_similarity(joint_sizes: Floats, hull_areas: Floats, num_pixels: float) -> Floats:
    """1 - (area of the common box - size a - size b) / size of the picture: few holes are good; (M,) -> (M,)."""
    return 1 - (hull_areas - joint_sizes) / num_pixels


class RegionTable:
    """Regions as rows: those of a segmentation first, then each merged one as it comes.

    Merged histograms are the size-weighted means of the parts. They are kept as counts, which add without loss up to
    2^24 pixels.
    """

    def __init__(self, regions: Regions, measure: Measure) -> None:
        self._num_regions = len(regions)
        self._num_pixels = float(regions.sizes.sum())
        self._uses_histograms = "colour" in measure or "texture" in measure
        self._uses_size, self._uses_fill = "size" in measure, "fill" in measure
        self._sizes = _with_room(regions.sizes.astype(np.float64))
        # Sides to the left and above are negated: one maximum then joins two boxes.
        self._extents = _with_room(regions.boxes * _XYXY_SIGNS)
        counts, self._weights = _select_counts(regions, measure)
        self._counts = _with_room(counts)
        sizes = regions.sizes.astype(np.float32)[:, None]
        self._histograms = _with_room(counts * (self._weights / sizes))

    def merge(self, first: int, second: int) -> int:
        """Adds the union of two rows and returns its row. The two stay as they are."""
        new = self._num_regions
        self._num_regions += 1
        self._sizes[new] = self._sizes[first] + self._sizes[second]
        np.maximum(self._extents[first], self._extents[second], out=self._extents[new])
        if self._uses_histograms:
            np.add(self._counts[first], self._counts[second], out=self._counts[new])
            np.multiply(self._counts[new], self._weights / float(self._sizes[new]), out=self._histograms[new])
        return new

    def similarities(self, first: int | Ints, second: Ints) -> Floats:
        """Sum of the measure's similarities of paired rows, or of one row with several.

        Args:
            first: (M,) rows, or one row for all pairs.
            second: (M,) rows.

        Returns:
            (M,) in [0, number of similarities].
        """
        total = np.zeros(len(second))
        if self._uses_histograms:
            # Colour and texture lie side by side, so their intersections come as one sum.
            total += histogram_similarity(self._histograms[first], self._histograms[second])
        joint_sizes = self._sizes[first] + self._sizes[second]
        if self._uses_size:
            total += size_similarity(joint_sizes, self._num_pixels)
        if self._uses_fill:
            hulls = np.maximum(self._extents[first], self._extents[second])
            areas = (hulls[:, 0] + hulls[:, 2]) * (hulls[:, 1] + hulls[:, 3])
            total += fill_similarity(joint_sizes, areas, self._num_pixels)
        return total

    def boxes(self) -> Ints:
        """(rows so far, 4) xyxy half-open boxes."""
        return self._extents[: self._num_regions] * _XYXY_SIGNS


def _with_room(rows: npt.NDArray[_Kind]) -> npt.NDArray[_Kind]:
    """A table for all regions of the hierarchy: (N, ...) -> (R, ...), rows from N on still unset."""
    table = np.empty((2 * len(rows) - 1, *rows.shape[1:]), dtype=rows.dtype)
    table[: len(rows)] = rows
    return table


def _select_counts(regions: Regions, measure: Measure) -> tuple[Histograms, Histograms]:
    """Columns of the histograms that a measure looks at: counts (N, B), and weights (B,).

    The weight is 1 / planes, so counts * weight / size sums to 1 over the columns of colour, and of texture.
    """
    counts: list[Histograms] = [np.empty((len(regions), 0), dtype=np.float32)]
    weights: list[Histograms] = [np.empty(0, dtype=np.float32)]
    kinds = (("colour", regions.colour, NUM_COLOUR_BINS), ("texture", regions.texture, NUM_TEXTURE_BINS))
    for name, columns, num_bins in kinds:
        if name in measure:
            num_columns = columns.shape[1]
            counts.append(columns.astype(np.float32))
            weights.append(np.full(num_columns, num_bins / num_columns, dtype=np.float32))
    return np.concatenate(counts, axis=1), np.concatenate(weights)

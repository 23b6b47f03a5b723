"""Regions of a segmentation: sizes, boxes, neighbours and histograms, all found in one pass over the pixels.

Legend: N regions, E pairs of neighbours, S planes of the colour space, T = 8 * S planes of texture, H/W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from proposals.selective_search.colour import Image
from proposals.selective_search.features import NUM_COLOUR_BINS, NUM_TEXTURE_BINS

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Regions:
    """What grouping knows of a segmentation; the same for every measure.

    Attributes:
        sizes: (N,) pixels of each region.
        boxes: (N, 4) xyxy half-open, pixels.
        neighbours: (E, 2) regions that touch, the smaller label first, rows ascending.
        colour: (N, 25 * S) pixels in each bin, plane after plane.
        texture: (N, 10 * T) the same for texture.
    """

    sizes: Ints
    boxes: Ints
    neighbours: Ints
    colour: Ints
    texture: Ints

    def __len__(self) -> int:
        return len(self.sizes)


def describe(labels: Ints, colour_bins: Image, texture_bins: Image) -> Regions:
    """Measures the regions of a segmentation.

    Args:
        labels: (H, W) in 0..N-1, none missing; H and W at least 1.
        colour_bins: (S, H, W) from `features.colour_bins`.
        texture_bins: (T, H, W) from `features.texture_bins`.

    Returns:
        Row i is the region with label i.
    """
    return Regions(
        sizes=np.bincount(labels.ravel()),
        boxes=find_boxes(labels),
        neighbours=find_neighbours(labels),
        colour=count_bins(labels, colour_bins, NUM_COLOUR_BINS),
        texture=count_bins(labels, texture_bins, NUM_TEXTURE_BINS),
    )


def find_boxes(labels: Ints) -> Ints:
    """Tight boxes of the labels: (H, W) -> (N, 4) xyxy, half-open."""
    # find_objects takes 0 for the background.
    return np.array([(x.start, y.start, x.stop, y.stop) for y, x in find_objects(labels + 1)], dtype=np.int64)


def find_neighbours(labels: Ints) -> Ints:
    """Pairs of labels that touch at an edge or a corner of a pixel, as in the graph of the segmentation.

    Args:
        labels: (H, W) in 0..N-1.

    Returns:
        (E, 2) the smaller label first, rows ascending and distinct; E = 0 where there is one label.
    """
    num_labels = int(labels.max()) + 1
    shifted = (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    )
    pairs = []
    for first, second in shifted:
        border = first != second
        one, other = first[border], second[border]
        pairs.append(np.minimum(one, other) * num_labels + np.maximum(one, other))
    return np.stack(np.divmod(np.unique(np.concatenate(pairs)), num_labels), axis=1)


def count_bins(labels: Ints, bins: Image, num_bins: int) -> Ints:
    """Histograms of all regions over all planes.

    Args:
        labels: (H, W) in 0..N-1.
        bins: (T, H, W) bin of each pixel in each of T planes.
        num_bins: B, of each plane.

    Returns:
        (N, T * B) how many pixels of the region have that bin, plane after plane.
    """
    num_labels = int(labels.max()) + 1
    first_cell = labels.ravel() * num_bins
    # One plane at a time: its table of N * B cells stays in the cache, that of all planes would not.
    tables = [
        np.bincount(first_cell + plane, minlength=num_labels * num_bins).reshape(num_labels, num_bins)
        for plane in bins.reshape(len(bins), -1)
    ]
    return np.concatenate(tables, axis=1)

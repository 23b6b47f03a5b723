"""Hierarchical grouping against a search over masks that keeps nothing from one merge to the next."""

from __future__ import annotations

import itertools
from functools import cache
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from proposals.selective_search.features import colour_bins, texture_bins
from proposals.selective_search.grouping import group
from proposals.selective_search.regions import Regions, describe
from proposals.selective_search.settings import CTSF, Measure, Similarity
from proposals.selective_search.similarity import (
    RegionTable,
    fill_similarity,
    histogram_similarity,
    size_similarity,
)
from tests.builders import random_pixels
from tests.proposals.segmentations import random_labels

SIZE_HW = (14, 19)
NUM_LABELS = 11
ALL_MEASURES = [measure for length in range(1, 5) for measure in itertools.combinations(get_args(Similarity), length)]

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]


class NaiveScene:
    """One picture and its segmentation; everything about a region is taken from its mask."""

    def __init__(self, seed: int, num_planes: int = 3) -> None:
        self.labels = random_labels(SIZE_HW, NUM_LABELS, seed)
        planes = random_pixels(SIZE_HW, seed)[..., :num_planes]
        self.colour, self.texture = colour_bins(planes), texture_bins(planes)
        self._histograms: dict[tuple[bytes, Measure], npt.NDArray[np.float32]] = {}

    def describe(self) -> Regions:
        return describe(self.labels, self.colour, self.texture)

    def histogram(self, mask: Mask, measure: Measure) -> npt.NDArray[np.float32]:
        """Single precision and side by side as in the real code, so that equal similarities are equal here too."""
        names: Measure = tuple(name for name in measure if name in ("colour", "texture"))
        key = mask.tobytes(), names
        if key not in self._histograms:
            blocks = [np.empty(0, dtype=np.float32)]
            for name, bins, num_bins in (("colour", self.colour, 25), ("texture", self.texture, 10)):
                if name in names:
                    weight = np.float32(1 / len(bins)) / np.float32(mask.sum())
                    for plane in bins:
                        counts = np.histogram(plane[mask], num_bins, (0, num_bins))[0]
                        blocks.append(counts.astype(np.float32) * weight)
            self._histograms[key] = np.concatenate(blocks)
        return self._histograms[key]

    def similarity(self, one: Mask, other: Mask, measure: Measure) -> float:
        """Sum over the measure for two masks."""
        total, joint = 0.0, float(one.sum() + other.sum())
        if "colour" in measure or "texture" in measure:
            total += float(np.minimum(self.histogram(one, measure), self.histogram(other, measure)).sum())
        if "size" in measure:
            total += 1 - joint / one.size
        if "fill" in measure:
            left, top, right, bottom = box_of(one | other)
            total += 1 - ((right - left) * (bottom - top) - joint) / one.size
        return total


def box_of(mask: Mask) -> Box:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def touch(one: Mask, other: Mask) -> bool:
    return bool((ndimage.binary_dilation(one, np.ones((3, 3))) & other).any())


def group_masks(scene: NaiveScene, measure: Measure) -> tuple[list[tuple[int, int]], list[Box], list[Mask]]:
    """Looks at all pairs of masks before each merge."""
    masks = [scene.labels == label for label in range(NUM_LABELS)]
    alive, merges = set(range(NUM_LABELS)), []
    while len(alive) > 1:
        _, one, other = min(
            (-scene.similarity(masks[one], masks[other], measure), one, other)
            for one, other in itertools.combinations(sorted(alive), 2)
            if touch(masks[one], masks[other])
        )
        merges.append((one, other))
        alive = (alive - {one, other}) | {len(masks)}
        masks.append(masks[one] | masks[other])
    return merges, [box_of(mask) for mask in masks], masks


@cache
def scene_of(seed: int) -> NaiveScene:
    return NaiveScene(seed)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("measure", ALL_MEASURES, ids="+".join)
def test_merges_are_those_of_the_naive_search(measure: Measure, seed: int) -> None:
    scene = scene_of(seed)
    merges, boxes, _ = group_masks(scene, measure)

    hierarchy = group(scene.describe(), measure)

    np.testing.assert_array_equal(hierarchy.merges, merges)
    np.testing.assert_array_equal(hierarchy.boxes, boxes)


def test_a_picture_of_one_plane_is_grouped_too() -> None:
    scene = NaiveScene(seed=2, num_planes=1)
    merges, boxes, _ = group_masks(scene, CTSF)

    hierarchy = group(scene.describe(), CTSF)

    np.testing.assert_array_equal(hierarchy.merges, merges)
    np.testing.assert_array_equal(hierarchy.boxes, boxes)


@pytest.mark.parametrize("measure", ALL_MEASURES, ids="+".join)
def test_similarities_are_those_of_the_masks_and_bounded(measure: Measure) -> None:
    """Of all pairs of a whole hierarchy, neighbours or not."""
    scene = scene_of(0)
    merges, _, masks = group_masks(scene, CTSF)
    table = RegionTable(scene.describe(), measure)
    for one, other in merges:
        table.merge(one, other)
    first, second = np.array(list(itertools.combinations(range(len(masks)), 2))).T
    apart = np.array([not (masks[one] & masks[other]).any() for one, other in zip(first, second, strict=True)])

    similarities = table.similarities(first, second)

    expected = [scene.similarity(masks[one], masks[other], measure) for one, other in zip(first, second, strict=True)]
    np.testing.assert_allclose(similarities, expected, rtol=0, atol=1e-5)
    assert similarities[apart].min() >= 0  # regions that overlap never meet
    assert similarities[apart].max() <= len(measure) + 1e-5
    row = table.similarities(3, second[first == 3])
    np.testing.assert_array_equal(row, similarities[first == 3])


def test_similarities_by_hand() -> None:
    halves = np.array([[0.5, 0.5, 0], [0, 0.25, 0.75]], dtype=np.float32)

    assert histogram_similarity(halves[0], halves[1]) == 0.25
    assert histogram_similarity(halves, halves).tolist() == [1, 1]
    # Regions of 2 and 4 pixels in a box of 4 x 3, picture of 24: 1 - 6 / 24, and 1 - (12 - 6) / 24.
    assert size_similarity(np.array([6.0]), 24).tolist() == [0.75]
    assert fill_similarity(np.array([6.0]), np.array([12.0]), 24).tolist() == [0.75]


def test_equal_similarities_merge_in_order_of_the_regions() -> None:
    labels = np.arange(6)[None]
    flat = np.zeros((1, 1, 6), dtype=np.uint8)

    hierarchy = group(describe(labels, flat, flat), ("colour",))

    # All are alike: 0 and 1 become 6, of the pairs left (2, 3) comes first; so do 4 and 5 before the new ones.
    assert hierarchy.merges.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert hierarchy.boxes[6:].tolist() == [[0, 0, 2, 1], [2, 0, 4, 1], [4, 0, 6, 1], [0, 0, 4, 1], [0, 0, 6, 1]]


def test_one_region_is_its_own_hierarchy() -> None:
    flat = np.zeros((1, 4, 5), dtype=np.uint8)

    hierarchy = group(describe(np.zeros((4, 5), dtype=np.int64), flat, flat), CTSF)

    assert hierarchy.boxes.tolist() == [[0, 0, 5, 4]]
    assert hierarchy.merges.shape == (0, 2)

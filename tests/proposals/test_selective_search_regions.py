"""Colour spaces, histograms, segments and neighbours of selective search, each against a second source."""

from __future__ import annotations

import colorsys
import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from skimage import color
from skimage.filters import gaussian
from skimage.segmentation import felzenszwalb

from proposals.selective_search import segmentation
from proposals.selective_search.colour import Image, to_colour_space
from proposals.selective_search.features import colour_bins, texture_bins
from proposals.selective_search.regions import Ints, count_bins, describe, find_boxes, find_neighbours
from proposals.selective_search.segmentation import Edges, find_edges, segment
from tests.builders import random_pixels
from tests.proposals.segmentations import random_labels, smooth_pixels

NUM_LABELS = 9
LABELS = random_labels((17, 23), NUM_LABELS, seed=4)
COLOURS = np.array(
    [[(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)], [(255, 255, 255), (90, 90, 90), (200, 120, 7), (3, 77, 140)]],
    dtype=np.uint8,
)


def list_pixels(image: Image) -> list[tuple[float, float, float]]:
    return [tuple(pixel / 255) for pixel in image.reshape(-1, 3)]  # type: ignore[misc]


def test_hsv_is_that_of_the_standard_library() -> None:
    expected = 255 * np.array([colorsys.rgb_to_hsv(*pixel) for pixel in list_pixels(COLOURS)])

    planes = to_colour_space(COLOURS, "hsv").reshape(-1, 3).astype(float)

    assert np.abs(planes - expected).max() <= 1  # 256 steps make the circle here, 255 there
    np.testing.assert_array_equal(to_colour_space(COLOURS, "hue"), to_colour_space(COLOURS, "hsv")[..., :1])


def test_lab_is_that_of_scikit_image() -> None:
    expected = color.rgb2lab(COLOURS) * [255 / 100, 1, 1] + [0, 128, 128]

    assert np.abs(to_colour_space(COLOURS, "lab") - expected).max() <= 1


def test_rgi_and_intensity_by_hand() -> None:
    image = np.array([[(0, 0, 0), (90, 90, 90), (200, 100, 100), (0, 0, 255)]], dtype=np.uint8)

    # 255 * 200 / 400 = 127.5, 255 * 100 / 400 = 63.75; grey 0.299 R + 0.587 G + 0.114 B
    intensity = [[[0], [90], [130], [29]]]
    np.testing.assert_array_equal(to_colour_space(image, "intensity"), intensity)
    planes = to_colour_space(image, "rgi")
    np.testing.assert_array_equal(planes[..., :2], [[(85, 85), (85, 85), (128, 64), (0, 0)]])
    np.testing.assert_array_equal(planes[..., 2:], intensity)
    np.testing.assert_array_equal(to_colour_space(image, "rgb"), image)


@pytest.mark.parametrize("colour_space", ["rgb", "intensity"])
def test_texture_is_scipys_derivative_in_eight_directions(colour_space: str) -> None:
    planes = to_colour_space(random_pixels((17, 23), seed=1), colour_space)  # type: ignore[arg-type]
    num_planes = planes.shape[2]

    bins = texture_bins(planes).reshape(8, num_planes, 17, 23)

    for direction, plane in itertools.product(range(8), range(num_planes)):
        pixels = planes[..., plane].astype(float)
        down, across = (ndimage.gaussian_filter(pixels, 1, order=order, mode="nearest") for order in ((1, 0), (0, 1)))
        slope = across * math.cos(direction * math.pi / 4) + down * math.sin(direction * math.pi / 4)
        expected = np.clip(slope * 10 / (255 / math.sqrt(2 * math.pi)), 0, 9.5)
        off = expected - bins[direction, plane]  # 0..1 within the bin, but for the rounding of single precision
        assert off.min() > -1e-3
        assert off.max() < 1 + 1e-3


def test_texture_of_an_edge_lies_across_it() -> None:
    planes = np.zeros((9, 12, 1), dtype=np.uint8)
    planes[:, 6:] = 255

    bins = texture_bins(planes)[:, 4, 5]

    # The discrete response is 255 * sum of i * g(i) = 92.8 of 101.7, bin 9; at 45 degrees 92.8 * 0.707 = 65.6, bin 6.
    np.testing.assert_array_equal(bins, [9, 6, 0, 0, 0, 0, 0, 6])


@pytest.mark.parametrize("colour_space", ["hsv", "hue"])
def test_histograms_are_numpys_of_each_mask(colour_space: str) -> None:
    planes = to_colour_space(random_pixels((17, 23)), colour_space)  # type: ignore[arg-type]
    texture = texture_bins(planes)

    regions = describe(LABELS, colour_bins(planes), texture)

    for label in range(NUM_LABELS):
        mask = LABELS == label
        assert regions.sizes[label] == mask.sum()
        colour = [np.histogram(plane[mask], 25, (0, 256))[0] for plane in np.moveaxis(planes, 2, 0)]
        np.testing.assert_array_equal(regions.colour[label], np.concatenate(colour))
        slopes = [np.histogram(plane[mask], 10, (0, 10))[0] for plane in texture]
        np.testing.assert_array_equal(regions.texture[label], np.concatenate(slopes))


def test_a_last_bin_that_nothing_reaches_is_there() -> None:
    labels = np.array([[0, 1]])

    counts = count_bins(labels, np.zeros((2, 1, 2), dtype=np.uint8), 3)

    np.testing.assert_array_equal(counts, [[1, 0, 0, 1, 0, 0]] * 2)


def test_boxes_enclose_the_masks() -> None:
    for label, box in enumerate(find_boxes(LABELS)):
        rows, columns = np.nonzero(LABELS == label)
        np.testing.assert_array_equal(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_neighbours_are_masks_that_touch_when_grown() -> None:
    expected = [
        (one, other)
        for one, other in itertools.combinations(range(NUM_LABELS), 2)
        if (ndimage.binary_dilation(LABELS == one, np.ones((3, 3))) & (LABELS == other)).any()
    ]

    np.testing.assert_array_equal(find_neighbours(LABELS), expected)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[0]], []),
        ([[0, 0], [0, 0]], []),
        ([[1, 0, 2]], [(0, 1), (0, 2)]),
        ([[2], [0], [1]], [(0, 1), (0, 2)]),
        ([[0, 1], [2, 3]], [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]),
    ],
)
def test_neighbours_by_hand(labels: list[list[int]], expected: list[tuple[int, int]]) -> None:
    np.testing.assert_array_equal(find_neighbours(np.array(labels)), np.array(expected).reshape(-1, 2))


def segmented(planes: npt.NDArray[np.uint8], k: float) -> Ints:
    return segment(find_edges(planes), planes.shape[:2], k)


@pytest.mark.parametrize(("k", "num_segments"), [(3900, 2), (4100, 1)])
def test_k_is_the_papers_for_colours_to_255(k: int, num_segments: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two flat halves of 400 pixels part by 10 grey levels, in each of three planes, join where 17.3 < k / 400."""
    monkeypatch.setattr(segmentation, "SIGMA", 0.01)
    monkeypatch.setattr(segmentation, "_join_small", lambda labels, edges, min_size: labels)
    image = np.full((20, 40, 1), 100, dtype=np.uint8)
    image[:, 20:] = 110

    labels = segmented(image, k * 3**0.5)

    assert len(np.unique(labels)) == num_segments


def felzenszwalb_naively(edges: Edges, num_pixels: int, k: float) -> list[int]:
    """The paper's algorithm, one edge after the other."""
    parents, sizes, limits = list(range(num_pixels)), [1] * num_pixels, [np.float32(k)] * num_pixels

    def root(pixel: int) -> int:
        while parents[pixel] != pixel:
            pixel = parents[pixel]
        return pixel

    for first, second, weight in zip(*edges, strict=True):
        low, high = sorted((root(first), root(second)))
        if low != high and weight <= min(limits[low], limits[high]):
            parents[high] = low
            sizes[low] += sizes[high]
            limits[low] = np.float32(weight + k / sizes[low])
    return [root(pixel) for pixel in range(num_pixels)]


@pytest.mark.parametrize("k", [5, 50, 500])
def test_one_edge_at_a_time_is_the_papers_algorithm(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "NUM_STEPS", 10**9)
    monkeypatch.setattr(segmentation, "_join_small", lambda labels, edges, min_size: labels)
    planes = smooth_pixels((24, 30))
    edges = find_edges(planes)

    labels = segment(edges, (24, 30), k)

    assert labels.ravel().tolist() == felzenszwalb_naively(edges, labels.size, k)
    assert 1 < len(np.unique(labels)) < labels.size


@pytest.mark.parametrize("k", [20, 60])
def test_segments_are_nearly_those_of_the_library(k: int) -> None:
    """scikit-image maps uint8 to [0, 1] and divides its scale by 255."""
    planes = smooth_pixels((120, 160))

    labels, theirs = segmented(planes, k), felzenszwalb(planes, scale=k, sigma=0.8, min_size=k, channel_axis=-1)

    assert len(np.unique(labels)) == pytest.approx(len(np.unique(theirs)), rel=0.1)
    first, second, _ = find_edges(planes)
    parts, theirs_parts = (each.ravel()[first] != each.ravel()[second] for each in (labels, theirs))
    assert (parts == theirs_parts).mean() > 0.97
    assert 0.05 < parts.mean() < 0.5


def test_neighbours_are_ordered_by_distance() -> None:
    planes = random_pixels((6, 7))
    smooth = gaussian(planes.astype(np.float64), 0.8, mode="nearest", channel_axis=-1, preserve_range=True)

    first, second, weights = find_edges(planes)

    expected = np.linalg.norm(smooth.reshape(-1, 3)[first] - smooth.reshape(-1, 3)[second], axis=1)
    np.testing.assert_allclose(weights, expected, rtol=0.02, atol=0.05)
    assert (np.diff(weights) >= 0).all()
    rows, columns = np.divmod(np.stack([first, second]), 7)
    assert (np.maximum(abs(np.diff(rows, axis=0)), abs(np.diff(columns, axis=0))) == 1).all()
    assert len({frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}) == len(first)
    assert len(first) == 6 * 6 + 5 * 7 + 2 * 5 * 6


def test_a_single_plane_is_segmented_as_three_equal_ones() -> None:
    planes = to_colour_space(smooth_pixels((60, 80)), "intensity")

    single, triple = segmented(planes, 30), segmented(planes.repeat(3, axis=2), 30)

    assert single.max() > 10
    np.testing.assert_array_equal(single, triple)


def assert_connected(labels: Ints) -> None:
    for label in range(int(labels.max()) + 1):
        assert ndimage.label(labels == label, structure=np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("k", [20, 60])
def test_segments_are_connected_and_not_small(k: int) -> None:
    labels = segmented(smooth_pixels((60, 80)), k)

    sizes: npt.NDArray[np.int64] = np.bincount(labels.ravel())
    assert len(sizes) > 5
    assert sizes.min() >= k
    assert_connected(labels)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (9, 1), (30, 30)])
def test_a_flat_picture_is_one_segment(size_hw: tuple[int, int]) -> None:
    np.testing.assert_array_equal(segmented(np.full((*size_hw, 3), 7, dtype=np.uint8), 50), np.zeros(size_hw))


@pytest.mark.parametrize(
    ("weights", "expected"), [([1, 2], [0, 0, 1, 1, 1]), ([2, 1], [0, 0, 0, 1, 1])], ids=["left later", "left first"]
)
def test_a_small_segment_joins_behind_its_weakest_edge(weights: list[int], expected: list[int]) -> None:
    """A pixel between two segments: the edge to its right is (2, 3), the one to its left (1, 2)."""
    order = np.argsort(weights, kind="stable")
    ends = np.array([[2, 3], [1, 2]])[order]
    edges = Edges(ends[:, 0], ends[:, 1], np.sort(np.array(weights, np.float32)))
    assert segmentation._join_small(np.array([0, 0, 1, 2, 2]), edges, 2).tolist() == expected

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
from skimage.segmentation import felzenszwalb

from proposals.selective_search.colour import Image, to_colour_space
from proposals.selective_search.features import colour_bins, texture_bins
from proposals.selective_search.regions import Ints, count_bins, describe, find_boxes, find_neighbours
from proposals.selective_search.segmentation import segment
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


@pytest.mark.parametrize(("k", "num_segments"), [(3900, 2), (4100, 1)])
def test_scale_of_the_library_is_the_papers_k_for_colours_to_255(k: int, num_segments: int) -> None:
    """Two flat halves of 400 pixels part by 10 grey levels join where 10 < k / 400."""
    image = np.full((20, 40, 1), 100, dtype=np.uint8)
    image[:, 20:] = 110

    labels = felzenszwalb(image, scale=k, sigma=0, min_size=0)

    assert labels.max() + 1 == num_segments


def test_a_single_plane_is_segmented_as_three_equal_ones() -> None:
    planes = to_colour_space(smooth_pixels((60, 80)), "intensity")

    single, triple = segment(planes, 30), segment(planes.repeat(3, axis=2), 30)

    assert single.max() > 10
    np.testing.assert_array_equal(single, triple)


def assert_connected(labels: Ints) -> None:
    for label in range(int(labels.max()) + 1):
        assert ndimage.label(labels == label, structure=np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("k", [20, 60])
def test_segments_are_connected_and_not_small(k: int) -> None:
    labels = segment(smooth_pixels((60, 80)), k)

    sizes: npt.NDArray[np.int64] = np.bincount(labels.ravel())
    assert len(sizes) > 5
    assert sizes.min() >= k
    assert_connected(labels)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (9, 1), (30, 30)])
def test_a_flat_picture_is_one_segment(size_hw: tuple[int, int]) -> None:
    np.testing.assert_array_equal(segment(np.full((*size_hw, 3), 7, dtype=np.uint8), 50), np.zeros(size_hw))

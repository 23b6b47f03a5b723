"""The 144 crops: where each lies, how much it counts, and in which order they come."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from detection.classification.crops import NUM_CROPS, crop_places, cut_crops, scaled_sides
from detection.preprocess import resize
from tests.builders import random_pixels
from tests.classification.naive_crops import naive_crops

SIDE = 224
SHORTER_SIDES = (256, 288, 320, 352)
PER_SCALE = 36  # 3 squares, 6 views, 2 mirrorings


def position_image(size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """An image whose pixel at (x, y) is (x % 256, y % 256, 16 * (x // 256) + y // 256)."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    image = np.stack([x % 256, y % 256, 16 * (x // 256) + y // 256], axis=2).astype(np.uint8)
    image.flags.writeable = False  # as memory-mapped images are
    return image


def position(pixel: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """The (x, y) that a pixel of ``position_image`` tells."""
    x, y, high = map(int, pixel)
    return x + 256 * (high // 16), y + 256 * (high % 16)


def origin(crop: npt.NDArray[np.uint8]) -> tuple[int, int, bool]:
    """The (x, y) of an unscaled crop's left top pixel in the image, and whether the crop is mirrored."""
    (x0, y0), (x1, _) = position(crop[0, 0]), position(crop[0, -1])
    assert abs(x1 - x0) == SIDE - 1
    assert position(crop[-1, 0]) == (x0, y0 + SIDE - 1)
    return min(x0, x1), y0, x1 < x0


def test_scales_are_the_papers_and_follow_the_side() -> None:
    assert scaled_sides(224) == SHORTER_SIDES
    # 64 * 256 / 224 = 73.1, 64 * 288 / 224 = 82.3, 64 * 320 / 224 = 91.4, 64 * 352 / 224 = 100.6
    assert scaled_sides(64) == (73, 82, 91, 101)


def test_the_first_ten_are_centre_corners_and_their_mirrors() -> None:
    # 256 x 300: the centre square begins at x = (300 - 256) / 2 = 22, a crop in its middle 16 pixels further on.
    crops = cut_crops(position_image((256, 300)), SIDE)
    expected = [(38, 16), (22, 0), (54, 0), (22, 32), (54, 32)]
    assert [origin(crop) for crop in crops.images[:10]] == [
        *((x, y, False) for x, y in expected),
        *((x, y, True) for x, y in expected),
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("portrait", [False, True])
def test_every_origin_of_every_scale(number: int, portrait: bool) -> None:
    # The image has the size of one scale, so that the crops of this scale are its own pixels. 50 pixels of slack
    # make the squares begin at 0, 25 and 50, which coincides with no distance 32, 64, 96, 128 of crops in a square.
    shorter = SHORTER_SIDES[number]
    size_hw = (shorter + 50, shorter) if portrait else (shorter, shorter + 50)
    crops = cut_crops(position_image(size_hw), SIDE)
    assert crops.images.shape == (144, SIDE, SIDE, 3)
    assert np.all(crops.weights[2] == 1 / 144)
    last = shorter - SIDE
    in_square = [(0, 0), (last, 0), (0, last), (last, last), (last // 2, last // 2)]
    starts = [(0, start) if portrait else (start, 0) for start in (0, 25, 50)]
    expected = {(a + x, b + y, mirrored) for a, b in starts for x, y in in_square for mirrored in (False, True)}
    of_scale = crops.images[PER_SCALE * number : PER_SCALE * (number + 1)].reshape(3, 12, SIDE, SIDE, 3)
    found = [origin(crop) for square in of_scale for crop in square[:10]]
    assert len(found) == len(expected) == 30
    assert set(found) == expected


@pytest.mark.parametrize(("size_hw", "start"), [((256, 300), (0, 22)), ((300, 256), (22, 0))])
def test_the_whole_square_follows_the_ten(size_hw: tuple[int, int], start: tuple[int, int]) -> None:
    image = random_pixels(size_hw)
    crops = cut_crops(image, SIDE)
    top, left = start
    whole = resize(image[top : top + 256, left : left + 256], (SIDE, SIDE))
    assert np.array_equal(crops.images[10], whole)
    assert np.array_equal(crops.images[11], whole[:, ::-1])


@pytest.mark.parametrize("size_hw", [(64, 64), (50, 71), (90, 40), (73, 74), (200, 67), (1, 1), (1, 3)])
@pytest.mark.parametrize("side", [32, 64])
def test_different_crops_with_weights_are_the_naive_144(size_hw: tuple[int, int], side: int) -> None:
    image = random_pixels(size_hw)
    naive = Counter(crop.tobytes() for crop in naive_crops(image, side))
    crops = cut_crops(image, side)
    counts = crops.weights[2] * 144
    assert counts.sum() == pytest.approx(144, abs=1e-9)
    assert np.allclose(counts, counts.round(), atol=1e-9)
    found: Counter[bytes] = Counter()
    for crop, count in zip(crops.images, counts, strict=True):
        found[crop.tobytes()] += round(count)
    assert found == naive


def test_a_square_image_has_48_different_crops() -> None:
    crops = cut_crops(random_pixels((300, 300)), SIDE)
    assert crops.images.shape == (48, SIDE, SIDE, 3)
    assert len({crop.tobytes() for crop in crops.images}) == 48
    assert np.allclose(crops.weights[2] * 144, 3)
    assert crops.weights[0].tolist() == [1.0] + [0.0] * 47
    assert crops.weights[1].tolist() == [0.1] * 10 + [0.0] * 38


def test_a_nearly_square_image_keeps_the_squares_that_differ() -> None:
    # 256 x 257: the squares of the first scale begin at 0 (left), 0 (centre: 1 // 2) and 1.
    weights = cut_crops(random_pixels((256, 257)), SIDE).weights
    assert (weights[2, :12] * 144).round().tolist() == [2.0] * 12
    assert (weights[2, 12:24] * 144).round().tolist() == [1.0] * 12


@pytest.mark.parametrize("size_hw", [(64, 64), (50, 71), (90, 40)])
def test_fewer_crops_are_the_first_ones(size_hw: tuple[int, int]) -> None:
    image = random_pixels(size_hw)
    everything = cut_crops(image, 64)
    assert everything.weights.shape == (3, len(everything.images))
    for protocols, number in enumerate(NUM_CROPS[:2], start=1):
        crops = cut_crops(image, 64, number)
        assert crops.images.shape == (number, 64, 64, 3)
        assert np.array_equal(crops.images, everything.images[:number])
        assert np.array_equal(crops.weights, everything.weights[:protocols, :number])
        assert not everything.weights[protocols - 1, number:].any()


def test_places_stay_inside_the_scaled_image() -> None:
    places = crop_places((333, 500), SIDE)
    assert len(places) == 144
    for place in places:
        width = round(place.shorter_side * 500 / 333)
        assert place.left >= 0
        assert place.top >= 0
        assert place.left + place.side <= width
        assert place.top + place.side <= place.shorter_side
        assert place.side in (SIDE, place.shorter_side)


@pytest.mark.parametrize("number", [0, 2, 143, 145])
def test_another_number_of_crops_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"got {number}"):
        cut_crops(random_pixels((8, 8)), 32, number)

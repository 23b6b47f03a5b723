"""Selective search from picture to proposals: cover, order, scales, settings, and pictures with little in them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from proposals.box_ops import box_iou
from proposals.selective_search import FAST, QUALITY, SINGLE, SelectiveSearchSettings, selective_search
from proposals.selective_search.colour import Image
from proposals.selective_search.regions import Ints
from proposals.selective_search.search import find_hierarchies, rank, resize
from tests.builders import random_pixels
from tests.proposals.boxes import as_boxes
from tests.proposals.contracts import assert_valid_proposals
from tests.proposals.segmentations import smooth_pixels

AS_IS = replace(FAST, width=None)
OBJECTS = as_boxes((20, 30, 70, 120), (100, 20, 180, 60), (110, 80, 190, 140))


def draw_objects() -> Image:
    """(160, 220, 3) two boxes and an ellipse, one of them of two colours, on a noisy ground that darkens downwards."""
    image = np.repeat(np.linspace(150, 110, 160), 220 * 3).reshape(160, 220, 3)
    cv2.rectangle(image, (20, 30), (69, 119), (200, 40, 40), -1)
    cv2.rectangle(image, (20, 30), (69, 60), (230, 90, 60), -1)
    cv2.rectangle(image, (100, 20), (179, 59), (30, 60, 190), -1)
    cv2.ellipse(image, (150, 110), (40, 30), 0, 0, 360, (40, 170, 60), -1)
    return np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("settings", [AS_IS, replace(FAST, width=330)], ids=["as it is", "enlarged"])
def test_clear_objects_are_covered(settings: SelectiveSearchSettings) -> None:
    proposals = selective_search(draw_objects(), settings)

    assert_valid_proposals(proposals)
    assert proposals.image_size_hw == (160, 220)
    assert box_iou(OBJECTS, proposals.boxes).max(dim=1).values.min() >= 0.8
    assert len(proposals.boxes.unique(dim=0)) == len(proposals)


def test_same_seed_same_boxes_other_seed_other_order() -> None:
    image = smooth_pixels((90, 120))

    one, again, other = (selective_search(image, replace(AS_IS, seed=seed)) for seed in (1, 1, 2))

    assert torch.equal(one.boxes, again.boxes)
    assert torch.equal(one.scores, again.scores)
    assert not torch.equal(one.boxes, other.boxes)
    assert torch.equal(one.boxes.unique(dim=0), other.boxes.unique(dim=0))


def test_scores_fall_evenly_from_one() -> None:
    proposals = selective_search(smooth_pixels((90, 120)), AS_IS)

    num_proposals = len(proposals)
    assert num_proposals > 20
    torch.testing.assert_close(proposals.scores, (num_proposals - torch.arange(num_proposals)) / num_proposals)


def test_larger_superpixels_give_fewer_boxes() -> None:
    image = smooth_pixels((90, 120))

    boxes, doubled = (selective_search(image, replace(AS_IS, superpixel_scale=scale)) for scale in (1.0, 2.0))
    same = selective_search(image, replace(AS_IS, segment_scales=(100, 200)))

    assert 0 < len(doubled) < 0.8 * len(boxes)
    assert torch.equal(doubled.boxes, same.boxes)


def test_each_strategy_gives_a_hierarchy_up_to_the_whole() -> None:
    image = smooth_pixels((60, 80))

    hierarchies = list(find_hierarchies(image, replace(FAST, segment_scales=(20, 40))))

    assert len(hierarchies) == FAST.num_strategies == 8
    assert [hierarchy[-1].tolist() for hierarchy in hierarchies] == [[0, 0, 80, 60]] * 8
    assert all(len(hierarchy) > 3 for hierarchy in hierarchies)
    # The strategies of one segmentation start from the same regions; k = 20 has more of them than k = 40.
    sizes = [len(hierarchy) for hierarchy in hierarchies]
    assert sizes[0] == sizes[1] > sizes[2] == sizes[3]


def test_sizes_of_the_papers_versions() -> None:
    assert (SINGLE.num_strategies, FAST.num_strategies, QUALITY.num_strategies) == (1, 8, 80)


def rank_naively(hierarchies: list[Ints], min_side: int, seed: int) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    values: dict[tuple[int, ...], float] = {}
    for hierarchy in hierarchies:
        chances = generator.random(len(hierarchy))
        for index, box in enumerate(hierarchy.tolist()):
            value = math.log(1 + len(hierarchy) - index) * chances[index]
            if min(box[2] - box[0], box[3] - box[1]) >= min_side:
                values[tuple(box)] = min(value, values.get(tuple(box), np.inf))
    return [list(box) for box in sorted(values, key=lambda box: values[box])]


@pytest.mark.parametrize("min_side", [1, 3, 5])
def test_rank_is_the_logarithm_of_the_position_from_the_top_times_chance(min_side: int) -> None:
    generator = np.random.default_rng(3)
    corners = generator.integers(0, 4, (60, 2))
    boxes = np.concatenate([corners, corners + generator.integers(1, 6, (60, 2))], axis=1)
    hierarchies = [boxes[:25], boxes[25:26], boxes[26:]]

    ranked = rank(hierarchies, min_side, np.random.default_rng(8))

    assert ranked.tolist() == rank_naively(hierarchies, min_side, seed=8)
    assert len(ranked) < 60


def test_short_sides_are_left_out() -> None:
    image = smooth_pixels((90, 120))

    sides = [selective_search(image, replace(AS_IS, min_side=side)).boxes for side in (1, 20, 40)]

    assert [bool(((boxes[:, 2:] - boxes[:, :2]) < 20).any()) for boxes in sides] == [True, False, False]
    assert len(sides[0]) > len(sides[1]) > len(sides[2]) > 0
    assert (sides[2][:, 2:] - sides[2][:, :2]).min() >= 40


@pytest.mark.parametrize(
    ("size_hw", "width", "expected_hw"),
    [
        ((40, 30), None, (40, 30)),
        ((40, 30), 60, (80, 60)),
        ((300, 200), 50, (75, 50)),
        ((3000, 10), 500, (2000, 7)),  # not 150,000 high
        ((2, 900), 100, (1, 100)),
    ],
)
def test_resized_to_the_width(size_hw: tuple[int, int], width: int | None, expected_hw: tuple[int, int]) -> None:
    assert resize(random_pixels(size_hw), width).shape == (*expected_hw, 3)


@pytest.mark.parametrize(
    ("size_hw", "width", "expected"),
    [
        ((0, 0), 500, []),
        ((0, 7), None, []),
        ((7, 0), 500, []),
        ((1, 1), 50, [[0, 0, 1, 1]]),  # enlarged to 50 x 50
        ((1, 1), None, []),  # smaller than min_side
        ((4, 50), None, []),
        ((5, 50), None, [[0, 0, 50, 5]]),
        ((23, 37), 100, [[0, 0, 37, 23]]),
        ((3, 1000), None, []),
    ],
)
def test_flat_and_tiny_pictures(size_hw: tuple[int, int], width: int | None, expected: list[list[int]]) -> None:
    image = np.full((*size_hw, 3), 90, dtype=np.uint8)

    proposals = selective_search(image, replace(FAST, width=width))

    assert proposals.boxes.tolist() == expected
    assert proposals.scores.tolist() == [1.0] * len(expected)
    assert proposals.image_size_hw == size_hw


def test_mirrored_and_cut_arrays_are_accepted() -> None:
    image = draw_objects()

    for view in (image[:, ::-1], image[5:-5, 3:-3]):
        expected = selective_search(view.copy(), replace(SINGLE, width=None))
        assert torch.equal(selective_search(view, replace(SINGLE, width=None)).boxes, expected.boxes)


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), dtype=np.uint8), np.zeros((5, 5, 4), dtype=np.uint8), np.zeros((5, 5, 3), dtype=np.float32)],
)
def test_what_is_no_image_is_named(image: Any) -> None:
    with pytest.raises(ValueError, match=r"image must have shape \(H, W, 3\) and type uint8, got \(5, 5"):
        selective_search(image, FAST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour_spaces": ()}, r"colour_spaces must be some of hsv, .*, got \(\)"),
        ({"colour_spaces": ("hsv", "cmyk")}, "colour_spaces must be some of hsv, .*cmyk"),
        ({"colour_spaces": ("hsv", "hsv")}, "each once"),
        ({"measures": ()}, "measures must not be empty"),
        ({"measures": (("size",), ("shape",))}, "each of the measures must be some of colour, texture, size, fill"),
        ({"measures": ((),)}, "each of the measures"),
        ({"segment_scales": ()}, "segment_scales must be positive"),
        ({"segment_scales": (50, 0)}, "segment_scales must be positive"),
        ({"superpixel_scale": 0.0}, "superpixel_scale must be positive, got 0"),
        ({"min_side": 0}, "min_side must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1 or None, got 0"),
    ],
)
def test_settings_that_mean_nothing_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(FAST, **change)


def test_a_picture_that_shrinks_is_averaged() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, ::4] = 200
    assert (resize(image, 10) == 50).all()  # the nearest pixels would be 0 or 200, bilinear ones 0

"""Tiles: where they lie, and that every object counts once, with its whole box."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from detection.structures import Detections
from detection.tile_merging import View, merge_views
from detection.tiling import TILES_AT_ONCE, TiledDetector, tile_regions, tile_starts
from tests.detection.pixel_detector import Painted, PixelDetector, answer_of, assert_same, paint, rows_of


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (1, [0]),
        (100, [0]),
        (101, [0, 1]),
        (180, [0, 80]),  # 80 + 100 reach the end, with just 20 in common
        (181, [0, 40, 81]),  # two would have 19 in common
        (260, [0, 80, 160]),
    ],
)
def test_the_fewest_tiles_that_overlap_enough(length: int, starts: list[int]) -> None:
    assert tile_starts(length, 100, 0.2) == starts


def test_tiles_cover_every_image_and_overlap() -> None:
    for tile in (32, 50, 97):
        for length in range(1, 700, 7):
            starts = tile_starts(length, tile, 0.2)
            gaps = np.diff(starts)
            assert starts[0] == 0
            assert starts[-1] == max(0, length - tile)
            assert (gaps >= 1).all()
            assert (tile - gaps >= 0.2 * tile).all()


def test_a_short_side_is_not_cut() -> None:
    assert tile_regions((60, 180), 100) == [(0, 0, 100, 60), (80, 0, 180, 60)]
    assert tile_regions((180, 60), 100) == [(0, 0, 60, 100), (0, 80, 60, 180)]


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0.2), (100, 1.0), (100, -0.1)])
def test_impossible_tiles_are_refused(tile: int, overlap: float) -> None:
    with pytest.raises(ValueError, match="expected a tile of 1 pixel or more"):
        TiledDetector(PixelDetector(), tile=tile, overlap=overlap)


BORDER = {
    "cut in one tile, whole in the other": [(0, 200, (85, 40, 110, 60))],
    "whole in both": [(0, 200, (84, 40, 96, 60))],
    "cut in both": [(0, 200, (60, 40, 120, 60))],
    "as wide as the overlap": [(0, 200, (80, 40, 100, 60))],
    "wider than a tile": [(0, 200, (10, 40, 170, 60))],
    "a sliver in the second tile": [(0, 200, (20, 40, 81, 60))],
    "side by side": [(0, 200, (60, 40, 90, 60)), (0, 180, (90, 40, 120, 60))],
    "one above the other": [(0, 200, (60, 10, 120, 30)), (0, 180, (55, 35, 125, 60))],
}


@pytest.mark.parametrize("objects", BORDER.values(), ids=BORDER.keys())
@pytest.mark.parametrize("blind_above", [None, 100])
def test_an_object_on_a_border_is_found_once_with_its_whole_box(
    objects: list[Painted], blind_above: int | None
) -> None:
    size_hw = (100, 180)
    detector = TiledDetector(PixelDetector(blind_above=blind_above), tile=100)
    assert_same(detector.detect_images([paint(size_hw, objects)])[0], answer_of(size_hw, objects))


@pytest.mark.parametrize("blind_above", [None, 100])
def test_an_object_over_many_tiles_is_joined(blind_above: int | None) -> None:
    objects: list[Painted] = [(1, 150, (30, 20, 290, 310)), (1, 151, (5, 5, 20, 300)), (2, 9, (100, 100, 180, 180))]
    detector = TiledDetector(PixelDetector(blind_above=blind_above), tile=100)
    assert_same(detector.detect_images([paint((330, 300), objects)])[0], answer_of((330, 300), objects))


def random_objects(rng: np.random.Generator, size_hw: tuple[int, int]) -> list[Painted]:
    """Boxes in cells of a random grid, so that those of one class never touch; all classes use the same cells."""
    height, width = size_hw
    rows = [0, *sorted(rng.choice(np.arange(10, height - 5), 3, replace=False).tolist()), height]
    columns = [0, *sorted(rng.choice(np.arange(10, width - 5), 3, replace=False).tolist()), width]
    objects: list[Painted] = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            if bottom - top > 6 and right - left > 6 and rng.random() < 0.8:
                label = int(rng.integers(3))
                objects.append((label, 150 + len(objects), (left + 2, top + 2, right - 2, bottom - 2)))
    return objects


def test_tiles_give_what_one_look_at_full_size_gives() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        size_hw = (int(rng.integers(40, 260)), int(rng.integers(40, 260)))
        objects = random_objects(rng, size_hw)
        tile = int(rng.integers(40, 120))
        for blind_above in (None, tile):
            detector = TiledDetector(PixelDetector(blind_above=blind_above), tile=tile)
            assert_same(detector.detect_images([paint(size_hw, objects)])[0], answer_of(size_hw, objects))


def test_nested_objects_stay() -> None:
    other_class: list[Painted] = [(0, 200, (70, 20, 130, 80)), (1, 220, (82, 40, 98, 60)), (2, 90, (84, 42, 96, 58))]
    same_class: list[Painted] = [(0, 200, (5, 5, 175, 95)), (0, 220, (84, 40, 94, 60)), (0, 210, (20, 30, 50, 70))]
    for objects in (other_class, same_class):
        found = TiledDetector(PixelDetector(), tile=100).detect_images([paint((100, 180), objects)])[0]
        assert_same(found, answer_of((100, 180), objects))


def test_a_mosaic_gives_what_its_images_give_one_by_one() -> None:
    rng = np.random.default_rng(9)
    inner = PixelDetector()
    parts = [paint((100, 100), random_objects(rng, (100, 100))) for _ in range(4)]
    parts = [np.where(part > 0, part - 35 * number, 0).astype(np.uint8) for number, part in enumerate(parts)]
    mosaic = np.concatenate([np.concatenate(parts[:2], axis=1), np.concatenate(parts[2:], axis=1)])
    expected = []
    for number, found in enumerate(inner.detect_images(parts)):
        shift = torch.tensor([100.0 * (number % 2), 100.0 * (number // 2)]).repeat(2)
        expected += rows_of(Detections(found.boxes + shift, found.scores, found.labels, (200, 200)))
    found = TiledDetector(inner, tile=100).detect_images([mosaic])[0]
    assert len(expected) > 20
    assert rows_of(found) == sorted(expected)


def test_small_images_are_detected_as_usual_and_order_is_kept() -> None:
    objects: list[Painted] = [(0, 200, (5, 5, 20, 20))]
    sizes = [(100, 100), (100, 101), (30, 40), (250, 90)]
    images = [paint(size_hw, objects) for size_hw in sizes]
    inner = PixelDetector()
    detector = TiledDetector(inner, tile=100)
    together = detector.detect_images(images)
    assert inner.asked[0] == [(100, 100), (30, 40)]
    for image, size_hw, found in zip(images, sizes, together, strict=True):
        assert_same(found, answer_of(size_hw, objects))
        assert_same(detector.detect_images([image])[0], found)


def test_batches_of_tiles_are_bounded() -> None:
    inner = PixelDetector()
    TiledDetector(inner, tile=50).detect_images([paint((300, 300), [])])
    assert max(map(len, inner.asked)) == TILES_AT_ONCE
    assert sum(map(len, inner.asked)) == 1 + len(tile_regions((300, 300), 50))


def test_nothing_found_is_no_detections() -> None:
    found = TiledDetector(PixelDetector(), tile=50).detect_images([paint((60, 70), [])])[0]
    assert_same(found, Detections.empty((60, 70)))


WHOLE, LEFT, RIGHT = (0, 0, 180, 100), (0, 0, 100, 100), (80, 0, 180, 100)


def detections(region: tuple[int, int, int, int], *rows: tuple[float, tuple[float, float, float, float]]) -> View:
    """A view with boxes of class 0, told in pixels of the image."""
    left, top, right, bottom = region
    boxes = torch.tensor([box for _, box in rows]).reshape(-1, 4) - torch.tensor([left, top, left, top])
    scores = torch.tensor([score for score, _ in rows])
    return View(
        region, Detections(boxes, scores, torch.zeros(len(rows), dtype=torch.int64), (bottom - top, right - left))
    )


def merged(*views: View) -> list[tuple[float, ...]]:
    """Score and box of each merged detection, best first."""
    found = merge_views(views, (100, 180))
    return [(round(score, 3), *box) for score, box in zip(found.scores.tolist(), found.boxes.tolist(), strict=True)]


def test_whole_boxes_become_their_mean_by_squared_scores() -> None:
    one, other = (82.0, 20.0, 86.0, 60.0), (83.0, 20.0, 87.0, 60.0)
    (mean,) = merged(detections(LEFT, (0.8, one)), detections(RIGHT, (0.4, other)))
    assert mean == pytest.approx((0.8, 82.2, 20, 86.2, 60), abs=1e-4)
    assert merged(detections(LEFT, (0.8, one)), detections(RIGHT, (0.8, one))) == [(0.8, *one)]
    tiny = 1e-30  # its square is 0
    assert merged(detections(LEFT, (tiny, one)), detections(RIGHT, (tiny, other)))[0][1] == pytest.approx(82.5)


def test_what_a_tile_shows_whole_is_judged_there() -> None:
    inside, beyond = (20.0, 20.0, 60.0, 60.0), (20.0, 20.0, 130.0, 60.0)
    coarse = detections(WHOLE, (0.9, inside), (0.9, beyond))
    assert merged(coarse, detections(LEFT)) == [(0.9, *beyond), (0.5, *inside)]  # 0.9 times 100 / 180
    surer = detections(LEFT, (0.6, (22.0, 20.0, 62.0, 60.0)))
    large, small = merged(coarse, surer)
    assert large == (0.9, *beyond)
    moved = 2 * 0.36 / (0.36 + 0.25)
    assert small == pytest.approx((0.6, 20 + moved, 20, 60 + moved, 60), abs=1e-4)


def test_a_cut_box_gives_way_to_a_whole_one_even_if_surer() -> None:
    whole, part = (60.0, 20.0, 120.0, 60.0), (62.0, 21.0, 99.0, 60.0)
    assert merged(detections(WHOLE, (0.5, whole)), detections(LEFT, (0.75, part))) == [(0.5, *whole)]


def test_a_tile_that_shows_all_knows_better_however_unsure() -> None:
    whole, part = (86.0, 20.0, 120.0, 60.0), (86.0, 20.0, 99.0, 60.0)
    assert merged(detections(LEFT, (0.75, part)), detections(RIGHT, (0.125, whole))) == [(0.125, *whole)]


def test_a_guess_swallows_nothing_certain() -> None:
    guess, part = (10.0, 5.0, 175.0, 95.0), (62.0, 21.0, 99.0, 60.0)
    assert merged(detections(WHOLE, (0.125, guess)), detections(LEFT, (0.75, part))) == [
        (0.75, *part),
        (0.125, *guess),
    ]
    left, right = (60.0, 20.0, 100.0, 60.0), (80.0, 20.0, 170.0, 60.0)
    assert merged(detections(LEFT, (0.75, left)), detections(RIGHT, (0.25, right))) == [(0.75, *left), (0.25, *right)]


def test_parts_that_disagree_are_two_objects() -> None:
    left, right = (60.0, 10.0, 100.0, 50.0), (80.0, 55.0, 120.0, 90.0)
    assert len(merged(detections(LEFT, (0.75, left)), detections(RIGHT, (0.5, right)))) == 2


def test_joined_parts_have_the_best_score_and_the_box_around_them() -> None:
    left, right = (60.0, 21.0, 99.0, 60.0), (81.0, 20.0, 130.0, 61.0)
    assert merged(detections(LEFT, (0.5, left)), detections(RIGHT, (0.75, right))) == [(0.75, 60, 20, 130, 61)]


def test_two_boxes_of_one_view_are_never_merged() -> None:
    one, other, part = (20.0, 20.0, 90.0, 60.0), (22.0, 20.0, 92.0, 60.0), (70.0, 20.0, 100.0, 60.0)
    view = detections(LEFT, (0.75, one), (0.5, other), (0.25, part))
    assert merged(view) == [(0.75, *one), (0.5, *other), (0.25, *part)]

"""Four images in one view: where pixels and boxes go, and how much of an object is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.data.augment import Augmentation, AugmentSettings
from detection.data.colour import ColourSettings
from detection.data.discover import load_dataset
from detection.data.image_cache import ImageCache
from detection.data.loader import SampleKey, TrainingSet, ViewOdds
from detection.data.mosaic import CENTRE, ZOOM, MosaicDraw, draw_mosaic, put_together
from detection.data.scene import OBJECT, Scene, blank_scene
from detection.preprocess import PAD_COLOUR
from tests.builders import toy_images, write_voc

STILL = AugmentSettings(horizontal_flip=0, vertical_flip=0, scale=(1.0, 1.0), colour=ColourSettings(0, 0, 0))
MIDDLE = np.array([0.5, 0.5])


def scene_of(
    size_hw: tuple[int, int], boxes: list[list[float]], *, colour: int = 0, rank: list[int] | None = None
) -> Scene:
    count = len(boxes)
    return Scene(
        np.full((*size_hw, 3), colour, dtype=np.uint8),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.full(count, colour, dtype=np.int64),
        np.zeros(count, dtype=np.bool_),
        np.array(rank or [OBJECT] * count, dtype=np.int64),
        np.ones(count, dtype=np.float32),
    )


def draw_with(place_yx: tuple[float, float]) -> MosaicDraw:
    return MosaicDraw((0, 0, 0), (1.0,) * 4, MIDDLE, np.array([place_yx] * 4))


def test_images_that_fit_their_quarters_stand_side_by_side() -> None:
    scenes = [scene_of((20, 30), [[1, 2, 11, 12]], colour=colour) for colour in (10, 20, 30, 40)]
    mosaic = put_together(scenes, draw_with((0.3, 0.8)), (40, 60))
    rows = [[10] * 30 + [20] * 30] * 20 + [[30] * 30 + [40] * 30] * 20
    assert np.array_equal(mosaic.image[..., 0], rows)
    assert mosaic.boxes.tolist() == [[1, 2, 11, 12], [31, 2, 41, 12], [1, 22, 11, 32], [31, 22, 41, 32]]
    assert mosaic.labels.tolist() == [10, 20, 30, 40]
    assert mosaic.visible.tolist() == [1] * 4


@pytest.mark.parametrize(
    ("place_yx", "box"),
    [
        ((0.0, 0.0), [20, 10, 30, 20]),  # the upper left 20 x 30 pixels
        ((1.0, 1.0), [0, 0, 10, 10]),  # the lower right: 20 pixels up, 30 to the left
        ((0.5, 0.5), [5, 0, 25, 20]),  # 10 up, 15 to the left: all of it
    ],
)
def test_of_a_larger_image_the_quarter_shows_a_part(place_yx: tuple[float, float], box: list[int]) -> None:
    large = scene_of((40, 60), [[20, 10, 40, 30]])
    rest = [scene_of((20, 30), [])] * 3
    mosaic = put_together([large, *rest], draw_with(place_yx), (40, 60))
    assert mosaic.boxes.tolist() == [box]
    assert mosaic.visible.tolist() == [(box[2] - box[0]) * (box[3] - box[1]) / 400]
    assert mosaic.target().ignore.tolist() == [mosaic.visible[0] < 0.3]


def test_a_smaller_image_lies_in_its_quarter_and_the_rest_is_padding() -> None:
    small = scene_of((10, 10), [[0, 0, 10, 10]], colour=7)
    mosaic = put_together([small] * 4, draw_with((0.5, 0.5)), (40, 60))
    ys, xs = np.nonzero((mosaic.image == 7).all(axis=2))
    assert set(ys) == {*range(5, 15), *range(25, 35)}  # (20 - 10) / 2 above
    assert set(xs) == {*range(10, 20), *range(40, 50)}  # (30 - 10) / 2 beside
    assert mosaic.boxes[3].tolist() == [40, 25, 50, 35]
    assert (mosaic.image[0, 0] == PAD_COLOUR).all()


def test_boxes_follow_their_pixels_in_any_draw() -> None:
    """Each image has a patch of its own colour: where its pixels are, its box is, and their number is its share."""
    for seed in range(40):
        draw = draw_mosaic(seed, 4, probability=1.0)
        assert draw is not None
        scenes = []
        for index, zoom in enumerate(draw.zooms):
            scene = scene_of((round(80 * zoom), round(100 * zoom)), [[10, 10, 40, 30]], colour=100)
            scene.image[10:30, 10:40] = index
            scenes.append(replace(scene, labels=np.array([index])))
        mosaic = put_together(scenes, draw, (80, 100))
        for index in range(4):
            ys, xs = np.nonzero((mosaic.image == index).all(axis=2))
            found = np.flatnonzero(mosaic.labels == index)
            assert len(found) == bool(len(ys))
            for row in found:
                assert mosaic.boxes[row].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                assert mosaic.visible[row] == pytest.approx(len(ys) / 600)


def test_shares_of_two_cuts_multiply_and_what_was_ignored_stays_so() -> None:
    scenes = [scene_of((20, 30), [[0, 0, 10, 10]]) for _ in range(4)]
    scenes[1] = replace(scenes[1], visible=np.array([0.25], dtype=np.float32))
    scenes[2] = replace(scenes[2], ignore=np.array([True]))
    mosaic = put_together(scenes, draw_with((0, 0)), (40, 60))
    assert mosaic.visible.tolist() == [1, 0.25, 1, 1]
    assert mosaic.target().ignore.tolist() == [False, True, True, False]
    assert mosaic.learnable.tolist() == [True, False, False, True]


def test_proposals_of_four_images_keep_their_order_and_share_the_ranks() -> None:
    scenes = [scene_of((20, 30), [[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 6, 6]], rank=[OBJECT, 0, 1]) for _ in range(4)]
    given = put_together(scenes, draw_with((0, 0)), (40, 60)).proposals()
    first = [[1, 1, 5, 5], [31, 1, 35, 5], [1, 21, 5, 25], [31, 21, 35, 25]]
    second = [[2, 2, 6, 6], [32, 2, 36, 6], [2, 22, 6, 26], [32, 22, 36, 26]]
    assert given.boxes.tolist() == first + second
    assert given.scores.tolist() == sorted(given.scores.tolist(), reverse=True)


def test_nothing_in_them_and_smallest_of_all() -> None:
    assert len(put_together([scene_of((8, 8), [])] * 4, draw_with((0, 0)), (8, 8)).target()) == 0
    dot = blank_scene((1, 1))
    mosaic = put_together([dot] * 4, draw_with((0.5, 0.5)), (1, 1))
    assert mosaic.size_hw == (1, 1)
    assert mosaic.target().ignore.all()


def test_the_seed_decides_how_often_and_how() -> None:
    draws = [draw_mosaic(seed, 7, probability=0.5) for seed in range(400)]
    made = [draw for draw in draws if draw is not None]
    assert 160 < len(made) < 240
    assert {partner for draw in made for partner in draw.partners} == set(range(7))
    assert all(ZOOM[0] <= zoom <= ZOOM[1] for draw in made for zoom in draw.zooms)
    assert all((CENTRE[0] <= draw.centre_yx).all() and (draw.centre_yx <= CENTRE[1]).all() for draw in made)
    again = draw_mosaic(5, 7, probability=1.0)
    assert again is not None
    assert str(again) == str(draw_mosaic(5, 7, probability=1.0))
    assert str(again) != str(draw_mosaic(6, 7, probability=1.0))
    assert draw_mosaic(5, 7, probability=0.0) is None


def training_set(tmp_path: Path) -> TrainingSet:
    data = load_dataset(write_voc(tmp_path, {"train": toy_images(5)}), "train")
    return TrainingSet(data.images, Augmentation(STILL), ImageCache(128, 10**9))


def test_a_mosaic_has_the_size_of_its_first_image_alone(tmp_path: Path) -> None:
    dataset = training_set(tmp_path)
    for image in range(5):
        alone, mosaic = dataset[SampleKey(image, 3, 96)], dataset[SampleKey(image, 3, 96, ViewOdds(mosaic=1.0))]
        assert mosaic.image.shape == alone.image.shape
        assert mosaic.target.image_size_hw == alone.target.image_size_hw
        assert mosaic.file_name.split(" + ")[0] == alone.file_name
        assert mosaic.file_name.count(" + ") == 3


def test_a_partner_that_cannot_be_read_leaves_its_quarter_blank_and_is_told(tmp_path: Path) -> None:
    dataset = training_set(tmp_path)
    before = {}
    for seed in range(100):
        draw = draw_mosaic(seed, 5, probability=1.0)
        assert draw is not None
        if draw.partners[0] == 4 and 4 not in draw.partners[1:]:
            before[seed] = dataset[SampleKey(0, seed, 96, ViewOdds(mosaic=1.0))]
    path = dataset.records[4].path
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    broken = TrainingSet(dataset.records, dataset.augmentation, ImageCache(128, 10**9))
    assert before
    for seed, whole in before.items():
        draw = draw_mosaic(seed, 5, probability=1.0)
        assert draw is not None
        sample = broken[SampleKey(0, seed, 96, ViewOdds(mosaic=1.0))]
        assert list(sample.errors) == [dataset.records[4].file_name]
        height, width, _ = sample.image.shape
        middle, centre = round(height * draw.centre_yx[0]), round(width * draw.centre_yx[1])
        quarter = sample.image[:middle, centre:]
        assert (quarter == np.array(PAD_COLOUR)).all()
        quarter[:] = whole.image[:middle, centre:]
        assert np.array_equal(sample.image, whole.image)  # the other three are as they were
        boxes = sample.target.boxes
        inside = (boxes[:, 0] >= centre) & (boxes[:, 3] <= middle)
        assert sample.target.ignore[inside].tolist() == [True]
        outside = (whole.target.boxes[:, 0] < centre) | (whole.target.boxes[:, 3] > middle)
        assert torch.equal(boxes[~inside], whole.target.boxes[outside])

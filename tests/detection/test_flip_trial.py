"""Whether objects are told upside down: on shapes that bear a flip, on shapes that do not, and in plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from detection.build_training import build_start_backbone
from detection.data.records import ImageRecord
from detection.flip_trial import (
    AS_SURE,
    FEWEST_IMAGES,
    FEWEST_OBJECTS,
    FlipTrial,
    cut_objects,
    held_out_margins,
    judge_margins,
    try_upside_down,
)
from tests.builders import save_image
from tests.detection.tiny import tiny_config
from tests.evaluation.splits import make_record

Draw = Callable[[npt.NDArray[np.uint8], tuple[int, int]], None]
SIDE = 30


def disk(image: npt.NDArray[np.uint8], corner: tuple[int, int]) -> None:
    cv2.circle(image, (corner[0] + SIDE // 2, corner[1] + SIDE // 2), SIDE // 2, (200, 40, 40), -1)


def square(image: npt.NDArray[np.uint8], corner: tuple[int, int]) -> None:
    cv2.rectangle(image, corner, (corner[0] + SIDE, corner[1] + SIDE), (200, 40, 40), -1)


def triangle(image: npt.NDArray[np.uint8], corner: tuple[int, int], *, up: bool) -> None:
    x, y = corner
    tip, base = (y, y + SIDE) if up else (y + SIDE, y)
    points = np.array([(x, base), (x + SIDE, base), (x + SIDE // 2, tip)], dtype=np.int32)
    cv2.fillPoly(image, [points], (200, 40, 40))


def upwards(image: npt.NDArray[np.uint8], corner: tuple[int, int]) -> None:
    triangle(image, corner, up=True)


def downwards(image: npt.NDArray[np.uint8], corner: tuple[int, int]) -> None:
    triangle(image, corner, up=False)


def draw_records(folder: Path, classes: Sequence[Draw], *, num_images: int = 12) -> list[ImageRecord]:
    """Images of 200 x 300 pixels with four objects each, on noise."""
    chance, records = np.random.default_rng(0), []
    for number in range(num_images):
        image = chance.integers(90, 130, (200, 300, 3), dtype=np.uint8)
        objects = []
        for place in range(4):
            x, y = 10 + 70 * place, int(chance.integers(5, 160))
            label = int(chance.integers(len(classes)))
            classes[label](image, (x, y))
            objects.append(((x, y, x + SIDE, y + SIDE), label))
        path = save_image(folder / f"{number}.png", image)
        records.append(make_record(number, objects, path=path))
    return records


def test_shapes_that_are_the_same_upside_down_pass(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk, square])
    trial = try_upside_down(build_start_backbone(tiny_config()), cut_objects(records, 2))
    assert trial.num_objects == 48
    assert trial.share is not None
    assert trial.share > 0.95
    assert trial.is_passed


def test_shapes_that_a_flip_turns_into_each_other_fail(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [upwards, downwards])
    trial = try_upside_down(build_start_backbone(tiny_config()), cut_objects(records, 2))
    assert trial.share is not None
    assert trial.share < 0.5
    assert not trial.is_passed


def test_the_same_images_give_the_same_answer(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk, downwards])
    backbone = build_start_backbone(tiny_config())
    first, again = (try_upside_down(backbone, cut_objects(records, 2)) for _ in range(2))
    assert first == again


def test_few_objects_or_images_say_nothing(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk, square], num_images=FEWEST_IMAGES)
    assert cut_objects(records, 2).say_something
    assert not cut_objects(records[1:], 2).say_something
    singles = [replace(each, boxes=each.boxes[:2], labels=each.labels[:2], ignore=each.ignore[:2]) for each in records]
    assert cut_objects(singles, 2).num_objects < FEWEST_OBJECTS
    assert not cut_objects(singles, 2).say_something
    assert not cut_objects([], 1).say_something


def test_images_without_objects_take_no_place(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk, square])
    empty = [make_record(100 + number, path=records[0].path) for number in range(1000)]
    assert cut_objects([*empty, *records, *empty], 2).num_objects == 48


def test_of_huge_images_fewer_are_read(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk, square])
    huge = [replace(each, size_hw=(10_000, 9_000)) for each in records]
    assert len(np.unique(cut_objects(huge, 2).images)) == 4  # of 90 million pixels each
    beyond = [replace(each, size_hw=(30_000, 20_000)) for each in records]
    assert len(np.unique(cut_objects(beyond, 2).images)) == 1


def test_one_class_without_background_tells_nothing(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk])
    whole = np.array([[5, 5, 295, 195]], np.float32)
    close = [replace(each, boxes=whole, labels=each.labels[:1], ignore=each.ignore[:1]) for each in records * 3]
    crops = cut_objects(close, 1)
    assert crops.say_something
    assert crops.num_objects == len(crops.labels) == 36
    trial = try_upside_down(build_start_backbone(tiny_config()), crops)
    assert trial.share is None
    assert not trial.is_passed


def test_what_is_cut_at_the_edge_or_has_no_size_is_a_crop_all_the_same(tmp_path: Path) -> None:
    path = save_image(tmp_path / "image.png", np.full((20, 300, 3), 7, np.uint8))
    boxes: list[tuple[tuple[float, ...], int]] = [((290, 0, 320, 40), 0), ((5, 5, 5, 5), 0), ((300, 200, 310, 210), 0)]
    crops = cut_objects([make_record(1, boxes, path=path)], 1)
    assert crops.num_objects == 3
    assert (crops.pixels == 7).all()


def test_crops_are_objects_and_background_of_their_size(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk, square], num_images=3)
    ignored = make_record(7, [((0, 0, 30, 30), 1)], ignore=[True], path=records[0].path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = make_record(8, [((0, 0, 30, 30), 1)], path=tmp_path / "broken.png")
    heard: list[int] = []
    crops = cut_objects([*records, ignored, broken], 2, lambda: heard.append(1))
    assert len(heard) == 4  # the ignored object is none
    assert set(crops.images.tolist()) == {0, 1, 2}
    assert crops.pixels.shape == (len(crops.labels), 64, 64, 3)
    objects, background = crops.labels < 2, crops.labels == 2
    assert objects.sum() == 12
    assert background.sum() > 6
    inner = crops.pixels[:, 28:36, 28:36].astype(int)
    reddish = (inner[..., 0] - inner[..., 1]).mean(axis=(1, 2)) > 50
    assert reddish[objects].all()
    assert reddish[background].mean() < 0.5


def test_margins_are_those_of_ridge_regression_on_other_images() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 7, generator=generator).double()
    labels = torch.randint(0, 3, (60,), generator=generator)
    targets = torch.nn.functional.one_hot(labels, 3).double()
    images = np.repeat(np.arange(20), 3)
    upright, flipped = held_out_margins(features, -features, targets, images)
    inside = torch.from_numpy(images % 5 != 2)
    mean, spread = features[inside].mean(dim=0), features[inside].std(dim=0, correction=0)
    known = (features[inside] - mean) / spread
    wanted = targets[inside] - targets[inside].mean(dim=0)
    # The primal normal equations, of features instead of crops.
    weights = torch.linalg.solve(known.T @ known + 7 * 0.1 * torch.eye(7).double(), known.T @ wanted)
    for margins, seen in ((upright, features), (flipped, -features)):
        scores = (seen[~inside] - mean) / spread @ weights
        for score, label, margin in zip(scores, labels[~inside], margins[~inside], strict=True):
            others = [float(value) for index, value in enumerate(score) if index != label]
            assert float(margin) == pytest.approx(float(score[label]) - max(others), abs=1e-4)


def judge(upright: float, flipped: npt.NDArray[np.float64] | float) -> FlipTrial:
    """The verdict on 200 objects of one class, of 50 images."""
    upside_down = np.broadcast_to(flipped, 200).astype(float)
    return judge_margins(np.full(200, upright), upside_down, np.zeros(200, np.int64), np.repeat(np.arange(50), 4))


def test_the_verdict_in_numbers() -> None:
    same = judge(0.5, 0.5)
    assert same.num_objects == 200
    assert same.share == pytest.approx(1)
    assert same.is_passed
    assert not judge(0.5, 0.5 * (AS_SURE - 0.01)).is_passed
    assert judge(-0.5, -0.5).share is None
    assert not judge(-0.5, 0.5).is_passed
    # On average they pass, but the images contradict each other.
    swings = judge(0.5, np.where(np.arange(50) % 2, 1.0, 0.0).repeat(4))
    assert swings.share == pytest.approx(1)
    assert not swings.is_passed


def test_many_that_bear_it_do_not_hide_a_class_that_does_not() -> None:
    labels = (np.arange(200) % 20 == 0).astype(np.int64)  # one in twenty is of the second class
    flipped = np.where(labels == 1, -0.3, 0.5)
    trial = judge_margins(np.full(200, 0.5), flipped, labels, np.repeat(np.arange(50), 4))
    assert trial.share == pytest.approx((1 - 0.6) / 2)
    assert not trial.is_passed


def test_one_class_in_many_that_a_flip_turns_into_another_is_enough() -> None:
    labels = np.arange(400) % 80
    flipped = np.where(labels == 7, -0.5, 0.5)
    images = np.arange(400) // 8
    trial = judge_margins(np.full(400, 0.5), flipped, labels, images)
    assert trial.share is not None
    assert trial.share > AS_SURE
    assert not trial.is_passed
    assert judge_margins(np.full(400, 0.5), np.full(400, 0.5), labels, images).is_passed


def test_a_class_of_few_images_has_no_say() -> None:
    labels, images = (np.arange(200) >= 190).astype(np.int64), np.minimum(np.arange(200) // 4, 46)
    upright = np.where(labels == 1, -0.5, 0.5)
    trial = judge_margins(upright, upright, labels, images)
    assert trial.share == pytest.approx(1)
    assert trial.is_passed
    assert judge_margins(upright[190:], upright[190:], labels[190:], images[190:]).share is None


def test_objects_of_one_image_are_one_witness() -> None:
    of_images = np.random.default_rng(0).normal(0.47, 0.1, 10)
    upright, flipped, labels = np.full(400, 0.5), of_images.repeat(40), np.zeros(400, np.int64)
    alike = judge_margins(upright, flipped, labels, np.repeat(np.arange(10), 40))
    apart = judge_margins(upright, flipped, labels, np.arange(400))
    assert alike.share == apart.share
    assert apart.spared == pytest.approx(alike.spared * 40**0.5 * (10 / 9 * 399 / 400) ** 0.5)
    # Second source: the mean of ten numbers in units of its standard error.
    left = of_images - AS_SURE * 0.5
    assert alike.spared == pytest.approx(left.mean() / (left.std(ddof=1) / 10**0.5))

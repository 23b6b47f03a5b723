"""Whether objects are told upside down: on shapes that bear a flip, on shapes that do not, and in plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    FEWEST_OBJECTS,
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
    assert trial.share > 0.95
    assert trial.is_passed


def test_shapes_that_a_flip_turns_into_each_other_fail(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [upwards, downwards])
    trial = try_upside_down(build_start_backbone(tiny_config()), cut_objects(records, 2))
    assert trial.share < 0.5
    assert not trial.is_passed


def test_the_same_images_give_the_same_answer(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk, downwards])
    backbone = build_start_backbone(tiny_config())
    first, again = (try_upside_down(backbone, cut_objects(records, 2)) for _ in range(2))
    assert first == again


def test_few_objects_or_one_image_say_nothing(tmp_path: Path) -> None:
    records = draw_records(tmp_path, [disk, square], num_images=-(-FEWEST_OBJECTS // 4))
    assert cut_objects(records, 2).say_something
    assert not cut_objects(records[1:], 2).say_something
    boxes = [((x, y, x + 20, y + 20), 0) for x in range(0, 280, 28) for y in range(0, 180, 45)]
    assert len(boxes) >= FEWEST_OBJECTS
    alone = make_record(1, boxes, path=save_image(tmp_path / "alone.png", np.zeros((200, 300, 3), np.uint8)))
    assert cut_objects([alone], 1).num_objects == len(boxes)
    assert not cut_objects([alone], 1).say_something
    assert not cut_objects([], 1).say_something


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
    assert len(heard) == 5
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
    mean, spread = features[inside].mean(dim=0), features[inside].std(dim=0)
    known = (features[inside] - mean) / spread
    offset = targets[inside].mean(dim=0)
    # The primal normal equations, of features instead of crops.
    weights = torch.linalg.solve(
        known.T @ known + 7 * 0.1 * torch.eye(7).double(), known.T @ (targets[inside] - offset)
    )
    for margins, seen in ((upright, features), (flipped, -features)):
        scores = (seen[~inside] - mean) / spread @ weights + offset
        for score, label, margin in zip(scores, labels[~inside], margins[~inside], strict=True):
            others = [float(value) for index, value in enumerate(score) if index != label]
            assert float(margin) == pytest.approx(float(score[label]) - max(others), abs=1e-4)


def test_the_verdict_in_numbers() -> None:
    images = np.repeat(np.arange(50), 4)
    upright = torch.full((200,), 0.5)
    same = judge_margins(upright, upright, images, 100)
    assert same.share == 1
    assert same.is_passed
    assert not judge_margins(upright, upright * (AS_SURE - 0.01), images, 100).is_passed
    assert not judge_margins(-upright, -upright, images, 100).is_passed
    # On average they pass, but the images contradict each other.
    swings = upright * torch.from_numpy(np.where(np.arange(50) % 2, 2.0, 0.0).repeat(4)).float()
    assert judge_margins(upright, swings, images, 100).share == pytest.approx(1)
    assert not judge_margins(upright, swings, images, 100).is_passed


def test_crops_of_one_image_are_one_witness() -> None:
    chance = np.random.default_rng(0)
    of_images = torch.from_numpy(chance.normal(0.47, 0.1, 10)).float()
    upright = torch.full((400,), 0.5)
    alike = judge_margins(upright, of_images.repeat_interleave(40), np.repeat(np.arange(10), 40), 400)
    apart = judge_margins(upright, of_images.repeat_interleave(40), np.arange(400), 400)
    assert alike.share == apart.share
    assert apart.spared == pytest.approx(alike.spared * 40**0.5, rel=1e-3)

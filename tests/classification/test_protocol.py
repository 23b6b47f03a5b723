"""The errors by number of models and of crops: hand tables, a naive loop, bounds and wrong input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from detection.classification.protocol import (
    MAX_BATCH,
    ProtocolCell,
    check_models,
    common_side,
    measure_errors,
    spread_evenly,
)
from detection.errors import InputError
from tests.builders import random_pixels
from tests.classification.naive_crops import naive_crops

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
SIDE = 32

Pixels = npt.NDArray[np.uint8]


@dataclass
class TableClassifier:
    """Answers with the row of a table that the first pixel names; every crop of a plain image gets the same one."""

    table: Sequence[Sequence[float]]
    class_names: tuple[str, ...] = NAMES
    side: int = SIDE

    def probabilities(self, crops: Pixels) -> Tensor:
        return torch.tensor([self.table[crop[0, 0, 0]] for crop in crops], dtype=torch.float32)


@dataclass
class ColourClassifier:
    """Softmax of a random linear function of some of a crop's pixels, and what it was asked."""

    seed: int
    class_names: tuple[str, ...] = NAMES
    side: int = SIDE
    batches: list[int] = field(default_factory=list)

    def probabilities(self, crops: Pixels) -> Tensor:
        assert torch.is_inference_mode_enabled()
        assert crops.dtype == np.uint8
        assert crops.shape[1:] == (SIDE, SIDE, 3)
        self.batches.append(len(crops))
        return torch.from_numpy(np.stack([self.of_crop(crop) for crop in crops]).astype(np.float32))

    def of_crop(self, crop: Pixels) -> npt.NDArray[np.float64]:
        weights = np.random.default_rng(self.seed).normal(size=(3 * 16, len(self.class_names)))
        logits = crop[::8, ::8].reshape(-1).astype(np.float64) @ weights / 200
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()


@dataclass
class ListedImages:
    """Images in a list."""

    images: Sequence[Pixels]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = NAMES

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Pixels:
        return self.images[index]


def plain_images(labels: Sequence[int], class_names: tuple[str, ...] = NAMES) -> ListedImages:
    """One image of the colour i for each label i-th in the list."""
    images = [np.full((40, 40, 3), index, dtype=np.uint8) for index in range(len(labels))]
    return ListedImages(images, np.array(labels), class_names)


def noise_images(sizes: Sequence[tuple[int, int]]) -> ListedImages:
    """Noise of different sizes with labels in turn."""
    images = [random_pixels(size, seed) for seed, size in enumerate(sizes)]
    return ListedImages(images, np.arange(len(sizes)) % len(NAMES))


def naive_errors(models: Sequence[ColourClassifier], images: ListedImages, crops: int) -> tuple[float, float]:
    """Top-1 and top-5 error with all models: loops over every crop, sorts the classes of every image."""
    wrong1 = wrong5 = 0
    for image, label in zip(images.images, images.labels, strict=True):
        everything = naive_crops(image, SIDE)
        # The naive order of a scale: left, centre, right square of 12; of each corners and centre, each with a mirror.
        centre = everything[12:24]
        chosen = {1: [centre[8]], 10: centre[:10], 144: everything}[crops]
        by_model = [np.mean([model.of_crop(crop) for crop in chosen], axis=0) for model in models]
        best = np.argsort(-np.mean(by_model, axis=0)).tolist()
        wrong1 += label not in best[:1]
        wrong5 += label not in best[:5]
    return wrong1 / len(images), wrong5 / len(images)


def test_cells_are_those_of_a_naive_loop() -> None:
    images = noise_images([(40, 60), (70, 35), (48, 48), (37, 38), *[(45, 50 + i) for i in range(10)]])
    models = [ColourClassifier(seed) for seed in range(3)]
    cells = measure_errors(models, images, side=SIDE)
    assert [(cell.models, cell.crops) for cell in cells] == [(m, c) for m in (1, 2, 3) for c in (1, 10, 144)]
    assert [cell.cost for cell in cells] == [1, 10, 144, 2, 20, 288, 3, 30, 432]
    assert {cell.images for cell in cells} == {14}
    expected = [naive_errors(models[: cell.models], images, cell.crops) for cell in cells]
    assert [(cell.top1_error, cell.top5_error) for cell in cells] == [pytest.approx(pair) for pair in expected]
    assert len(set(expected)) > 4  # the protocols differ, so that one taken for another is seen


@pytest.mark.parametrize("crops", [1, 10, 144])
def test_fewer_crops_give_the_same_cells(crops: int) -> None:
    images = noise_images([(40, 60), (70, 35), (48, 48), (37, 38), (40, 44), (35, 36)])
    models = [ColourClassifier(5), ColourClassifier(6)]
    cells = measure_errors(models, images, side=SIDE, num_crops=crops)
    everything = measure_errors(models, images, side=SIDE)
    assert cells == [cell for cell in everything if cell.crops <= crops]


def test_models_are_averaged_by_hand() -> None:
    first = TableClassifier([[0.6, 0.4, 0, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0, 0, 0], [0.1, 0.2, 0.7, 0, 0, 0, 0]])
    second = TableClassifier([[0.3, 0.7, 0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0, 0, 0], [0, 0.9, 0.1, 0, 0, 0, 0]])
    # Means: (0.45, 0.55, ..), (0.55, 0.45, ..), (0.05, 0.55, 0.4, ..): classes 1, 0, 1; the first alone says 0, 0, 2.
    images = plain_images([1, 0, 2])
    cells = measure_errors([first, second], images, side=SIDE, num_crops=1)
    assert cells == [ProtocolCell(1, 1, 1 / 3, 0.0, 3), ProtocolCell(2, 1, 1 / 3, 0.0, 3)]
    cells = measure_errors([second, first], images, side=SIDE, num_crops=1)
    assert [cell.top1_error for cell in cells] == [1 / 3, 1 / 3]
    cells = measure_errors([first, second], plain_images([1, 0, 1]), side=SIDE, num_crops=1)
    assert [cell.top1_error for cell in cells] == [2 / 3, 0.0]


def test_probabilities_are_averaged_not_votes_nor_the_maximum() -> None:
    # Two of three models and the greatest single number say class 0; the mean (0.4, 0.433, 0.167) says class 1.
    rows = [[0.6, 0.4, 0, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0, 0, 0]]
    models = [TableClassifier([row]) for row in rows]
    cells = measure_errors(models, plain_images([1]), side=SIDE, num_crops=1)
    assert [cell.top1_error for cell in cells] == [1.0, 1.0, 0.0]


def test_top5_counts_five_classes() -> None:
    row = [0.3, 0.25, 0.2, 0.12, 0.1, 0.03, 0.0]
    cell = measure_errors([TableClassifier([row] * 7)], plain_images(range(7)), side=SIDE, num_crops=1)[0]
    assert cell == ProtocolCell(1, 1, 6 / 7, 2 / 7, 7)


@pytest.mark.parametrize("crops", [1, 10, 144])
def test_of_equal_classes_the_smaller_label_comes_first(crops: int) -> None:
    # All seven equal: they rank in the order of their labels. Counting only greater ones would make no error at all.
    cells = measure_errors([TableClassifier([[0.125] * 7] * 7)], plain_images(range(7)), side=SIDE, num_crops=crops)
    assert (cells[-1].top1_error, cells[-1].top5_error) == (6 / 7, 2 / 7)


def test_an_answer_that_is_no_number_is_wrong() -> None:
    cell = measure_errors([TableClassifier([[float("nan")] * 7])], plain_images([0]), side=SIDE, num_crops=1)[0]
    assert (cell.top1_error, cell.top5_error) == (1.0, 1.0)


@pytest.mark.parametrize(("num_classes", "top5"), [(1, None), (4, None), (5, 0.0)])
def test_fewer_than_five_classes_have_no_top5(num_classes: int, top5: float | None) -> None:
    names = NAMES[:num_classes]
    model = TableClassifier([[1 / num_classes] * num_classes], names)
    cell = measure_errors([model], plain_images([num_classes - 1], names), side=SIDE, num_crops=1)[0]
    assert cell == ProtocolCell(1, 1, float(num_classes > 1), top5, 1)


@pytest.mark.parametrize(
    ("crops", "size_hw", "count", "expected"),
    [
        (1, (40, 50), 300, [144, 144, 12]),
        (10, (40, 50), 30, [140, 140, 20]),
        (144, (40, 60), 3, [144, 144, 144]),
        (144, (40, 40), 6, [144, 144]),  # 48 different crops of a square image, 3 * 48 = 144
    ],
)
def test_batches_are_full_but_bounded(crops: int, size_hw: tuple[int, int], count: int, expected: list[int]) -> None:
    model, heard = ColourClassifier(0), []
    images = noise_images([size_hw] * count)
    measure_errors([model], images, side=SIDE, num_crops=crops, heard=lambda: heard.append(len(model.batches)))
    assert model.batches == expected
    assert max(model.batches) <= MAX_BATCH
    assert len(heard) == count


def test_only_the_chosen_images_are_classified() -> None:
    model = TableClassifier([[1.0, 0, 0, 0, 0, 0, 0]] * 4)
    images = plain_images([0, 1, 0, 1])
    cell = measure_errors([model], images, side=SIDE, num_crops=1, indices=[0, 2, 3])[0]
    assert (cell.images, cell.top1_error) == (3, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("total", "limit", "expected"),
    [
        (10, 5, [0, 2, 4, 6, 8]),
        (10, 3, [0, 3, 6]),
        (10, 7, [0, 1, 2, 4, 5, 7, 8]),
        (3, 9, [0, 1, 2]),
        (3, None, [0, 1, 2]),
        (0, 5, []),
        (0, None, []),
    ],
)
def test_spread_evenly(total: int, limit: int | None, expected: list[int]) -> None:
    assert spread_evenly(total, limit) == expected


def test_models_of_other_classes_are_refused() -> None:
    models = [TableClassifier([]), TableClassifier([]), TableClassifier([], ("ant", "bee", "owl", *NAMES[3:]))]
    check_models(models[:2])
    with pytest.raises(InputError, match="model 3 has other classes than model 1: lacks 'cat' and adds 'owl'"):
        check_models(models)
    with pytest.raises(InputError, match="model 3 has other classes"):
        measure_errors(models, plain_images([0]), side=SIDE)


def test_many_other_classes_are_not_all_listed() -> None:
    many = (*NAMES, *(f"new{number}" for number in range(9)))
    with pytest.raises(InputError, match="adds 'new0', 'new1', 'new2', 'new3', 'new4' and 4 more"):
        check_models([TableClassifier([]), TableClassifier([], many)])
    with pytest.raises(InputError, match="adds 'new0', 'new1', 'new2', 'new3', 'new4';"):
        check_models([TableClassifier([]), TableClassifier([], many[:12])])


def test_images_of_other_classes_are_refused() -> None:
    model = TableClassifier([])
    with pytest.raises(InputError, match=r"images have other classes than the models: lacks 'gnu'"):
        measure_errors([model], plain_images([0], NAMES[:-1]), side=SIDE)
    with pytest.raises(InputError, match=r"images have other classes .* same names in another order"):
        measure_errors([model], plain_images([0], NAMES[::-1]), side=SIDE)


@pytest.mark.parametrize("count", [0, 8])
def test_wrong_number_of_models(count: int) -> None:
    with pytest.raises(InputError, match=f"expected 1 to 7 models, got {count}"):
        measure_errors([TableClassifier([])] * count, plain_images([0]), side=SIDE)


def test_no_images() -> None:
    with pytest.raises(InputError, match="no image to classify"):
        measure_errors([TableClassifier([])], plain_images([]), side=SIDE)


def test_models_of_different_sides_need_one_named() -> None:
    models = [TableClassifier([], side=64), TableClassifier([], side=64)]
    assert common_side(models) == 64
    with pytest.raises(InputError, match="inputs of 64 and 224 pixels"):
        common_side([*models, TableClassifier([], side=224)])

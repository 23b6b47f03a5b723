"""The numbers that a training is followed by, and that may choose its best weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configs.schema import CLASS_METRICS, METRICS
from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.evaluation.summary import evaluate_detections
from detection.evaluation.validation_numbers import validation_numbers
from detection.structures import Detections
from tests.builders import ToyImage, ToyObject, write_voc

CAT, OTHER_CAT, DOG = (2.0, 2.0, 22.0, 22.0), (30.0, 2.0, 50.0, 22.0), (2.0, 30.0, 30.0, 56.0)


@pytest.fixture
def data(tmp_path: Path) -> DetectionData:
    """Two cats and a dog to be found, and a bird that is ignored."""
    objects = (ToyObject("cat", CAT), ToyObject("cat", OTHER_CAT), ToyObject("dog", DOG))
    ignored = ToyObject("bird", (40, 40, 58, 58), ignore=True)
    return load_dataset(write_voc(tmp_path, {"val": [ToyImage("a", (60, 60), (*objects, ignored))]}), "val")


def found(data: DetectionData, *answers: tuple[str, tuple[float, ...], float]) -> dict[int, Detections]:
    names, boxes, scores = zip(*answers, strict=True)
    labels = torch.tensor([data.class_names.index(name) for name in names])
    return {data.images[0].image_id: Detections(torch.tensor(boxes), torch.tensor(scores), labels, (60, 60))}


def test_each_class_has_numbers_of_its_own(data: DetectionData) -> None:
    """One cat of two is found, a wrong one scores less; the dog is found. F1 of cats: 2 * 1 * 0.5 / 1.5."""
    numbers = validation_numbers(
        data, found(data, ("cat", CAT, 0.9), ("cat", (40.0, 30.0, 58.0, 58.0), 0.5), ("dog", DOG, 0.8))
    )
    assert numbers["F1:cat"] == pytest.approx(2 / 3)
    assert numbers["F1:dog"] == numbers["AP:dog"] == numbers["AP50:dog"] == pytest.approx(1)
    assert numbers["F1"] == pytest.approx((2 / 3 + 1) / 2)
    assert numbers["AP50:cat"] == pytest.approx(51 / 101)  # recall points up to a half
    assert numbers["AP"] == pytest.approx((51 / 101 + 1) / 2)
    assert [numbers[f"{name}:bird"] for name in CLASS_METRICS] == [None] * 3


def test_they_are_those_of_a_report(data: DetectionData) -> None:
    detections = found(data, ("cat", OTHER_CAT, 0.9), ("dog", (2.0, 28.0, 30.0, 50.0), 0.8), ("bird", DOG, 0.7))
    numbers, report = validation_numbers(data, detections), evaluate_detections(data, detections)
    assert {name: numbers[name] for name in report.coco} == report.coco
    for name, each in report.per_class.items():
        assert (numbers[f"AP:{name}"], numbers[f"AP50:{name}"]) == (each.ap, each.ap50)
        assert numbers[f"F1:{name}"] == (None if each.best is None else each.best.f1)


def test_objects_without_a_right_detection_count_as_zero(data: DetectionData) -> None:
    numbers = validation_numbers(data, {})
    assert numbers["F1"] == numbers["F1:cat"] == numbers["AP:dog"] == 0


def test_the_configuration_knows_them_all(data: DetectionData) -> None:
    names = [f"{number}:{name}" for number in CLASS_METRICS for name in data.class_names]
    assert list(validation_numbers(data, {})) == [*METRICS, *names]

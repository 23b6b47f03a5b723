"""Score maps applied, and how a model file carries them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from detection.calibration import IDENTITY, Calibration, ScoreMap, calibrated_scores, lowest_scores
from detection.checkpoint import METADATA_KEY, ModelHeader, load_header, load_model, save_model
from detection.errors import InputError
from detection.evaluation.summary import evaluate_detections
from detection.structures import Detections
from tests.evaluation.splits import make_detections, random_split

NAMES = ("cat", "dog")
BOX = (10, 10, 50, 50)


def calibration(*maps: tuple[float, float]) -> Calibration:
    count = len(maps)
    thresholds: dict[str, tuple[float | None, ...]] = {"best": (0.5,) * count, "precise": (None,) * count}
    return Calibration(tuple(ScoreMap(*each) for each in maps), thresholds, {"split": "val", "images": 3})


def test_map_by_hand() -> None:
    # logit(.8) = log 4: twice is log 16, less log 4 is log 4 again; logit(.5) = 0 becomes -log 4 = logit(.2).
    found = calibrated_scores(torch.tensor([0.8, 0.5]), 2.0, -math.log(4))

    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([0.8, 0.2], abs=1e-7)


def test_ends_stay_and_order_too() -> None:
    scores = torch.linspace(0, 1, 1001)
    found = calibrated_scores(scores, 0.3, -1.7)

    assert (found[0], found[-1]) == (0, 1)
    assert (found.diff() > 0).all()
    assert torch.equal(calibrated_scores(scores, *IDENTITY).round(decimals=6), scores.round(decimals=6))


def test_each_class_has_its_map_and_the_rows_are_sorted_again() -> None:
    detections = make_detections([(BOX, 0.8, 0), ((0, 0, 5, 5), 0.6, 1), ((1, 1, 6, 6), 0.5, 0)])

    found = calibration((1, -math.log(4)), (1, math.log(4))).apply(detections)

    # cat: odds 4 and 1 become 1 and 1/4; dog: odds 3/2 become 6.
    assert found.labels.tolist() == [1, 0, 0]
    assert found.scores.tolist() == pytest.approx([6 / 7, 1 / 2, 1 / 5], abs=1e-6)
    assert found.boxes[:, 0].tolist() == [0, 10, 1]
    assert found.image_size_hw == detections.image_size_hw


def test_no_detections() -> None:
    found = calibration((1, 0), (2, 1)).apply(Detections.empty((5, 6)))

    assert len(found) == 0
    assert found.image_size_hw == (5, 6)


@pytest.mark.parametrize("seed", range(5))
def test_ap_of_each_class_does_not_change(seed: int) -> None:
    data, detections = random_split(seed)  # many equal scores, 0 and 1 among them
    maps = calibration((0.3, -2.0), (2.5, 0.7), (1.0, 3.0))
    mapped = {image_id: maps.apply(found) for image_id, found in detections.items()}

    before, after = evaluate_detections(data, detections), evaluate_detections(data, mapped)

    assert after.coco == before.coco
    for name in data.class_names:
        one, two = before.per_class[name], after.per_class[name]
        for number in ("ap", "ap50", "voc07", "voc12", "ilsvrc"):
            assert getattr(one, number) == getattr(two, number)
        assert (one.best.f1 if one.best else None) == (two.best.f1 if two.best else None)


def test_thresholds_with_a_stand_in_where_there_is_none() -> None:
    assert lowest_scores((0.25, None), missing=0.5).tolist() == [0.25, 0.5]
    assert lowest_scores((), missing=0.5).shape == (0,)


@pytest.mark.parametrize("score_map", [(0, 1), (-1, 0), (math.inf, 0), (1, math.nan)])
def test_maps_that_would_turn_the_order_are_refused(score_map: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="a score map needs a slope above 0"):
        calibration(score_map)


def test_thresholds_must_fit() -> None:
    with pytest.raises(ValueError, match="expected the thresholds best, precise, got best"):
        Calibration((IDENTITY,), {"best": (0.5,)})
    with pytest.raises(ValueError, match="1 classes have 2 thresholds 'best'"):
        Calibration((IDENTITY,), {"best": (0.5, 0.5), "precise": (None,)})
    with pytest.raises(ValueError, match=r"threshold 'precise' is 1\.5, expected 0 to 1"):
        Calibration((IDENTITY,), {"best": (0.5,), "precise": (1.5,)})


def header(**fields: Any) -> ModelHeader:
    return ModelHeader(config={}, class_names=NAMES, category_ids=(1, 2), **fields)


def test_model_file_round_trip(tmp_path: Path) -> None:
    fitted = calibration((1.25, -0.1), (0.3, 1e-17))
    save_model(tmp_path / "m.safetensors", {"x": torch.ones(2)}, header(calibration=fitted.to_header(NAMES)))

    found = load_header(tmp_path / "m.safetensors")

    assert found.calibration is not None
    assert Calibration.from_header(found.calibration, found.class_names) == fitted
    assert Calibration.from_header(found.calibration, NAMES[::-1]).maps == fitted.maps[::-1]


def test_files_without_calibration_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, {"x": torch.ones(2)}, header())

    with safe_open(path, framework="pt") as file:
        assert "calibration" not in file.metadata()[METADATA_KEY]
    assert load_header(path).calibration is None


def test_unknown_fields_of_a_header_are_still_refused(tmp_path: Path) -> None:
    odd = header()
    object.__setattr__(odd, "calibrations", {})
    save_model(tmp_path / "m.safetensors", {"x": torch.ones(2)}, odd)

    with pytest.raises(InputError, match="lacks or adds fields"):
        load_model(tmp_path / "m.safetensors")


def drop_class(document: dict[str, Any]) -> None:
    del document["classes"]["dog"]


def add_class(document: dict[str, Any]) -> None:
    document["classes"]["cow"] = document["classes"]["dog"]


def drop_number(document: dict[str, Any]) -> None:
    del document["classes"]["dog"]["bias"]


def add_number(document: dict[str, Any]) -> None:
    document["classes"]["dog"]["power"] = 2


def text_for_number(document: dict[str, Any]) -> None:
    document["classes"]["dog"]["slope"] = "2"


def no_slope(document: dict[str, Any]) -> None:
    document["classes"]["dog"]["slope"] = None


def add_field(document: dict[str, Any]) -> None:
    document["more"] = 1


def text_for_words(document: dict[str, Any]) -> None:
    document["fitted_on"] = "val"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_class, "expected the classes cat, dog"),
        (add_class, "expected the classes cat, dog"),
        (drop_number, "calibration of 'dog': expected best, bias, precise, slope"),
        (add_number, "calibration of 'dog': expected best, bias, precise, slope"),
        (text_for_number, "slope is '2', expected a number"),
        (no_slope, "slope is None, expected a number"),
        (add_field, "expected classes and fitted_on"),
        (text_for_words, "under fitted_on, got 'val'"),
    ],
)
def test_a_damaged_entry_is_refused(damage: Callable[[dict[str, Any]], None], message: str) -> None:
    document = copy.deepcopy(calibration((1, 0), (2, 0.5)).to_header(NAMES))
    damage(document)

    with pytest.raises(ValueError, match=message):
        Calibration.from_header(document, NAMES)

"""Sizes that are told apart, in pixels or percent, and as many detections as are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from detection.errors import InputError
from detection.evaluation.coco_map import AREA_BANDS, CocoSettings, coco_map, count_per_band
from detection.evaluation.size_bands import SizeBands, parse_bands
from detection.evaluation.summary import EvaluationSettings, evaluate_detections
from tests.evaluation.splits import SIZE_HW, make_detections, make_record, make_split, perfect_detections, random_split

SMALL, LARGE = (0, 0, 20, 20), (0, 0, 150, 100)  # 400 and 15000 of 60000 square pixels: 0.67 % and 25 %


def test_the_usual_bands_are_those_of_coco() -> None:
    assert AREA_BANDS == {"small": (0.0, 1024.0), "medium": (1024.0, 9216.0), "large": (9216.0, 1e10)}
    assert parse_bands("32,96") == SizeBands()
    assert SizeBands().extents()["medium"] == "32 x 32 pixels to 96 x 96 pixels"


def test_percent_of_the_image() -> None:
    bands = parse_bands("1%, 30%")
    assert bands.measure(np.array([600.0]), np.array([SIZE_HW[0] * SIZE_HW[1]])).tolist() == [1.0]
    data = make_split([make_record(1, [(SMALL, 0), (LARGE, 1)])])
    assert count_per_band(data, bands) == {"small": (1, 0), "medium": (0, 1), "large": (0, 0)}
    found = {1: make_detections([(SMALL, 0.9, 0)])}
    numbers = coco_map(data, found, CocoSettings(bands))
    assert (numbers.summary["APs"], numbers.summary["APm"], numbers.summary["APl"]) == (pytest.approx(1.0), 0.0, None)
    assert numbers.ap_by_band["small"] == (pytest.approx(1.0), None)
    assert numbers.ap_by_band["medium"] == (None, 0.0)


@pytest.mark.parametrize(
    ("text", "names"),
    [("50", "small large"), ("8,32,96", "tiny small medium large"), ("1%,2%,3%,4%", "tiny small medium large huge")],
)
def test_one_to_four_bounds(text: str, names: str) -> None:
    bands = parse_bands(text)
    assert bands.names == tuple(names.split())
    data = make_split([make_record(1, [(SMALL, 0), (LARGE, 0)])])
    evaluation = evaluate_detections(data, perfect_detections(data), settings=EvaluationSettings(CocoSettings(bands)))
    assert list(evaluation.num_gt_per_band) == list(bands.names)
    assert sum(evaluation.num_gt_per_band.values()) == 2
    metrics = evaluation.to_metrics()
    assert {f"AP{name[0]}" for name in bands.names} <= set(metrics["coco"])
    assert list(metrics["per_class"]["cat"]["AP_by_size"]) == list(bands.names)
    assert bands.extents()["small"] in metrics["protocols"]["sizes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b", "write 32,96"),
        ("96,32", "ascending, got 96, 32"),
        ("0,5", "above 0"),
        ("1%,20", "all in pixels or all in percent"),
        ("1%,100%", "below 100%"),
        ("1,2,3,4,5", "1 to 4 bounds of size, got 5"),
        ("", "write 32,96"),
        ("nan,5", "finite bounds of size above 0 and ascending, got nan, 5"),
        ("32,inf", "finite bounds of size above 0 and ascending, got 32, inf"),
    ],
)
def test_wrong_bands_are_told(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_bands(text)


def test_any_number_of_detections() -> None:
    objects = [((x, 0, x + 1, 1), 0) for x in range(150)]
    data = make_split([make_record(1, objects)])
    perfect = perfect_detections(data)
    usual, more = coco_map(data, perfect).summary, coco_map(data, perfect, CocoSettings(max_detections=300)).summary
    assert usual["AP"] == pytest.approx(67 / 101)  # recall 100/150
    assert usual["AR100"] == pytest.approx(100 / 150)
    assert more["AP"] == more["AR300"] == pytest.approx(1.0)
    assert more["AR10"] == usual["AR10"]
    few = coco_map(data, perfect, CocoSettings(max_detections=5)).summary
    assert [name for name in few if name.startswith("AR")] == ["AR1", "AR5", "ARs", "ARm", "ARl"]
    assert few["AR5"] == pytest.approx(5 / 150)
    evaluation = evaluate_detections(data, perfect, settings=EvaluationSettings(CocoSettings(max_detections=300)))
    assert "300 detections per image and class" in evaluation.protocols["coco"]
    assert not any("of one class" in warning for warning in evaluation.warnings)


def test_classes_and_sizes_are_means_of_the_whole() -> None:
    data, detections = random_split(2)
    numbers = coco_map(data, detections)
    for name in AREA_BANDS:
        present = [value for value in numbers.ap_by_band[name] if value is not None]
        assert numbers.summary[f"AP{name[0]}"] == (pytest.approx(np.mean(present)) if present else None)
    counts = count_per_band(data)
    assert all(len(row) == len(data.class_names) for row in counts.values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CocoSettings(max_detections=0), "expected 1 or more"),
        (lambda: EvaluationSettings(precision=1.5), "expected 0 to 1"),
    ],
)
def test_settings_that_cannot_be(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()

"""COCO numbers: equal to pycocotools run directly, and defined where pycocotools is not."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.data.records import DetectionData
from detection.evaluation.coco_map import CocoSettings, coco_map, count_per_band, crowded_images, overfull_images
from detection.predictions import ImageDetections, write_coco
from detection.structures import Detections
from tests.evaluation.splits import make_detections, make_record, make_split, perfect_detections, random_split


def direct_numbers(folder: Path, data: DetectionData, detections: Mapping[int, Detections]) -> list[float]:
    """The twelve numbers of pycocotools' own summary, from files with the original category ids."""
    annotations: list[dict[str, object]] = []
    for record in data.images:
        for row, (x1, y1, x2, y2) in enumerate(record.boxes.tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": data.category_ids[record.labels[row]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(record.area[row]),
                    "iscrowd": int(record.ignore[row]),
                }
            )
    images = [{"id": record.image_id} for record in data.images]
    categories = [{"id": number} for number in data.category_ids]
    truth = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "truth.json").write_text(json.dumps(truth))
    listed = [ImageDetections(image_id, str(image_id), found) for image_id, found in detections.items()]
    write_coco(folder, listed, class_names=data.class_names, category_ids=data.category_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "truth.json"))
        evaluator = COCOeval(coco, coco.loadRes(str(folder / "detections.json")), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(number) for number in evaluator.stats]


@pytest.mark.parametrize("seed", range(200))
def test_equals_pycocotools(seed: int, tmp_path: Path) -> None:
    data, detections = random_split(seed)
    expected = direct_numbers(tmp_path, data, detections)
    for (name, value), direct in zip(coco_map(data, detections).summary.items(), expected, strict=True):
        if direct == -1:
            assert value is None, name
        else:
            assert value == pytest.approx(direct, abs=1e-9), name


def test_the_random_splits_hold_the_hard_cases() -> None:
    splits = [random_split(seed) for seed in range(30)]
    records = [record for data, _ in splits for record in data.images]
    most = max(len(found) for _, detections in splits for found in detections.values())
    assert any(len(record.labels) == 0 for record in records)
    assert any(record.ignore.any() for record in records)
    assert most > 100
    numbers = [coco_map(data, detections).summary["AP"] for data, detections in splits]
    assert len({round(number, 3) for number in numbers if number is not None}) > 20


@pytest.mark.parametrize("category_ids", [(0, 1), (1, 2), (90, 11)])
def test_perfect_detections_give_one_for_every_id_scheme(category_ids: tuple[int, int]) -> None:
    records = [make_record(0, [((0, 0, 20, 20), 0)]), make_record(1, [((5, 5, 60, 60), 1), ((0, 0, 150, 150), 0)])]
    data = make_split(records, category_ids=category_ids)
    numbers = coco_map(data, perfect_detections(data))
    assert dict(numbers.summary) == pytest.approx(dict.fromkeys(CocoSettings().summary(), 1.0))
    assert numbers.ap == pytest.approx((1.0, 1.0))
    assert numbers.ap50 == pytest.approx((1.0, 1.0))


def test_no_detections_give_zero() -> None:
    numbers = coco_map(make_split([make_record(1, [((0, 0, 20, 20), 0)])]), {})
    assert numbers.summary["AP"] == 0.0
    assert numbers.summary["AR100"] == 0.0
    assert numbers.ap == (0.0, None)


@pytest.mark.parametrize("records", [[], [make_record(1)]])
def test_no_objects_give_none(records: list[object]) -> None:
    data = make_split([make_record(1)] if records else [])
    found = {1: make_detections([((0, 0, 9, 9), 0.5, 0)])} if records else {}
    numbers = coco_map(data, found)
    assert dict(numbers.summary) == dict.fromkeys(CocoSettings().summary())
    assert numbers.ap == numbers.ap50 == (None, None)


def test_false_detections_on_empty_images_lower_the_precision() -> None:
    data = make_split([make_record(1, [((0, 0, 20, 20), 0)]), make_record(2)])
    right = {1: make_detections([((0, 0, 20, 20), 0.8, 0)])}
    assert coco_map(data, right).summary["AP"] == pytest.approx(1.0)
    # The better scored false detection halves the precision at every recall.
    assert coco_map(data, right | {2: make_detections([((0, 0, 9, 9), 0.9, 0)])}).summary["AP"] == pytest.approx(0.5)


def test_the_area_of_the_record_decides_the_band() -> None:
    data = make_split([make_record(1, [((0, 0, 50, 50), 0)], area=[900.0])])
    numbers = coco_map(data, perfect_detections(data)).summary
    assert numbers["APs"] == pytest.approx(1.0)
    assert numbers["APm"] is None
    assert count_per_band(data) == {"small": (1, 0), "medium": (0, 0), "large": (0, 0)}


def test_bands_count_bounds_twice_and_ignored_objects_never() -> None:
    objects = [((0, 0, 32, 32), 0), ((0, 0, 33, 33), 0), ((0, 0, 96, 97), 0), ((0, 0, 5, 5), 0)]
    data = make_split([make_record(1, objects, ignore=[False, False, False, True])])
    assert count_per_band(data) == {"small": (1, 0), "medium": (2, 0), "large": (1, 0)}


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    coco_map(*random_split(1))
    assert capsys.readouterr().out == ""


def test_images_with_more_objects_than_counted_detections_are_named() -> None:
    crowd = [((x, 0, x + 1, 1), 0) for x in range(101)]
    two_classes = [((x, 0, x + 1, 1), x % 2) for x in range(150)]
    data = make_split([make_record(1, crowd), make_record(2, two_classes), make_record(3, crowd[:100])])
    assert crowded_images(data) == {"image1.jpg": 101}


def test_images_with_more_objects_than_detections_are_named() -> None:
    objects = [((x, 0, x + 1, 1), x % 2) for x in range(101)]
    ignored = make_record(3, objects, ignore=[True] + [False] * 100)
    data = make_split([make_record(1, objects), make_record(2, objects[:100]), ignored])
    assert overfull_images(data, max_detections=100) == {"image1.jpg": 101}
    assert overfull_images(data, max_detections=99) == {"image1.jpg": 101, "image2.jpg": 100, "image3.jpg": 100}

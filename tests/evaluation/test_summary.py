"""The whole evaluation of a split, its best thresholds and its json form."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from detection.evaluation.operating_point import best_f1
from detection.evaluation.summary import EvaluationSettings, evaluate_detections
from detection.evaluation.voc_map import PrecisionRecall
from tests.evaluation.splits import make_detections, make_record, make_split, perfect_detections, random_split

A, B, NOWHERE = (0, 0, 10, 10), (20, 0, 30, 10), (100, 100, 110, 110)


def test_every_number_of_a_small_split() -> None:
    data = make_split([make_record(1, [(A, 0), (B, 0)]), make_record(2)])
    found = {1: make_detections([(A, 0.75, 0), (NOWHERE, 0.5, 0), (B, 0.25, 0)])}
    metrics = evaluate_detections(data, found, proposals={"recall@10": 0.5}).to_metrics()
    # Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1. COCO: 51 of 101 points see 1, 50 see 2/3.
    assert metrics["coco"]["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert metrics["coco"]["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert metrics["voc07"] == {"mAP": pytest.approx((6 + 5 * 2 / 3) / 11)}
    assert metrics["voc12"] == {"mAP": pytest.approx(1 / 2 + 1 / 3)}
    assert metrics["ilsvrc"] == {"mAP": pytest.approx(1 / 2 + 1 / 3)}
    assert metrics["proposals"] == {"recall@10": 0.5}
    assert (metrics["num_images"], metrics["num_gt"], metrics["num_detections"]) == (2, 2, 3)
    assert metrics["num_gt_per_size"] == {"small": 2, "medium": 0, "large": 0}
    cat = metrics["per_class"]["cat"]
    # F1 is 2/3 at 0.75, 1/2 at 0.5, 4/5 at 0.25.
    assert (cat["score_threshold"], cat["best_f1"], cat["recall"]) == (0.25, pytest.approx(4 / 5), 1.0)
    assert (cat["num_gt"], cat["num_detections"], cat["precision"]) == (2, 3, pytest.approx(2 / 3))
    dog = metrics["per_class"]["dog"]
    assert (dog["num_gt"], dog["num_detections"]) == (0, 0)
    assert dog.pop("AP_by_size") == dict.fromkeys(["small", "medium", "large"])
    assert {value for key, value in dog.items() if not key.startswith("num_")} == {None}
    assert cat["AP_by_size"] == {"small": metrics["coco"]["AP"], "medium": None, "large": None}
    assert cat["num_gt_by_size"] == {"small": 2, "medium": 0, "large": 0}
    # Precision 0.9 is reached at 0.75 only.
    assert cat["at_precision"] == {"score_threshold": 0.75, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert metrics["wanted_precision"] == 0.9


def test_perfect_detections_give_one_everywhere() -> None:
    data = make_split([make_record(1, [(A, 0), (B, 1)]), make_record(2, [((0, 0, 90, 90), 0)])])
    evaluation = evaluate_detections(data, perfect_detections(data))
    assert evaluation.coco["AP"] == pytest.approx(1.0)
    assert (evaluation.voc07, evaluation.voc12, evaluation.ilsvrc) == (1.0, 1.0, 1.0)
    assert evaluation.score_thresholds == {"cat": pytest.approx(0.9), "dog": pytest.approx(0.9)}


@pytest.mark.parametrize("has_objects", [True, False])
@pytest.mark.parametrize("has_detections", [True, False])
@pytest.mark.parametrize("has_images", [True, False])
def test_the_empty_matrix(has_objects: bool, has_detections: bool, has_images: bool) -> None:
    objects = [(A, 0)] if has_objects else []
    data = make_split([make_record(1, objects)] if has_images else [])
    found = {1: make_detections([(NOWHERE, 0.5, 0)] if has_detections else [])} if has_images else {}
    evaluation = evaluate_detections(data, found)
    expected = 0.0 if has_objects and has_images else None
    assert evaluation.coco["AP"] == expected
    assert (evaluation.voc07, evaluation.voc12, evaluation.ilsvrc) == (expected,) * 3
    assert evaluation.score_thresholds == {"cat": None, "dog": None}
    json.dumps(evaluation.to_metrics(), allow_nan=False)


def test_the_blacklist_of_ilsvrc_counts_for_its_own_number_alone() -> None:
    data = make_split([make_record(1, [(A, 0)]), make_record(2, [(A, 0)])])
    found = {1: make_detections([(A, 0.5, 0)]), 2: make_detections([(NOWHERE, 0.75, 0)])}
    whole = evaluate_detections(data, found)
    evaluation = evaluate_detections(replace(data, unjudged=frozenset({(2, 0), (9, 0)})), found)
    assert (whole.ilsvrc, evaluation.ilsvrc) == (0.25, 1.0)
    assert (whole.coco, whole.voc12) == (evaluation.coco, evaluation.voc12)
    assert whole.protocols["ilsvrc"].endswith("monotone curve, no blacklist of images")
    assert evaluation.protocols["ilsvrc"].endswith("with its blacklist of 1 pairs of image and class")


def test_metrics_are_json_without_minus_one() -> None:
    metrics = evaluate_detections(*random_split(5)).to_metrics()
    text = json.dumps(metrics, allow_nan=False)
    assert json.loads(text) == metrics
    assert "-1" not in text
    assert list(metrics["coco"]) == "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl".split()


def test_reasons_for_low_numbers_are_warned_of() -> None:
    data = make_split([make_record(1, [((x, 0, x + 1, 1), 0) for x in range(150)])])
    evaluation = evaluate_detections(data, {}, failures={"image1.jpg": "is not an image"})
    of_class, of_image, of_file = evaluation.warnings
    assert "more than 100 objects of one class (image1.jpg holds 150)" in of_class
    assert "more than 100 objects (image1.jpg holds 150)" in of_image
    assert "1 image(s) could not be read" in of_file
    assert evaluation.to_metrics()["failed_images"] == {"image1.jpg": "is not an image"}
    assert evaluate_detections(make_split([make_record(1, [(A, 0)])]), {}).warnings == ()


def test_images_with_more_objects_than_the_detector_can_answer_are_warned_of() -> None:
    def objects(number: int) -> list[tuple[tuple[float, ...], int]]:
        return [((x, 0, x + 1, 1), x % 2) for x in range(number)]

    data = make_split([make_record(1, objects(120)), make_record(2, objects(130)), make_record(3, objects(60))])
    (warning,) = evaluate_detections(data, {}).warnings
    assert warning.startswith("2 image(s) hold more than 100 objects (image2.jpg holds 130)")
    assert warning.endswith("raise postprocess.max_detections and proposals.num_detect")
    (warning,) = evaluate_detections(data, {}, settings=EvaluationSettings(detector_limit=50)).warnings
    assert warning.startswith("3 image(s) hold more than 50 objects")
    assert evaluate_detections(data, {}, settings=EvaluationSettings(detector_limit=130)).warnings == ()
    many = {1: make_detections([(NOWHERE, 0.5, 0)] * 125)}  # Another tool that gives more than 100.
    (warning,) = evaluate_detections(data, many).warnings
    assert warning.startswith("1 image(s) hold more than 125 objects")


def test_warnings_of_the_caller_come_first() -> None:
    evaluation = evaluate_detections(make_split([]), {}, warnings=["3 of 9 images"], failures={"a.jpg": "0 bytes"})
    assert evaluation.warnings == (
        "3 of 9 images",
        "1 image(s) could not be read and count as images without detections",
    )
    assert evaluation.to_metrics()["warnings"] == list(evaluation.warnings)


def test_a_threshold_never_cuts_through_equal_scores() -> None:
    # The first of two equal scores looks best (precision 1, recall 1/2), but it cannot be kept alone:
    # both together have precision 1/2, and so F1 1/2.
    curve = PrecisionRecall(np.array([0.5, 0.5]), np.array([1.0, 0.5]), np.array([0.5, 0.5]), num_gt=2)
    point = best_f1(curve)
    assert point is not None
    assert (point.score_threshold, point.precision, point.recall, point.f1) == (0.5, 0.5, 0.5, 0.5)


def test_of_equal_f1_the_highest_threshold_is_taken() -> None:
    # 1 of 3 objects with one detection, 2 of 3 with five: F1 2*1*(1/3)/(4/3) = 1/2 = 2*(2/5)*(2/3)/(16/15).
    curve = PrecisionRecall(np.array([0.8, 0.2]), np.array([1.0, 0.4]), np.array([1 / 3, 2 / 3]), num_gt=3)
    point = best_f1(curve)
    assert point is not None
    assert point.score_threshold == 0.8
    assert point.f1 == pytest.approx(0.5)


def test_no_right_detection_has_no_threshold() -> None:
    assert best_f1(PrecisionRecall(np.array([0.5]), np.array([0.0]), np.array([0.0]), num_gt=2)) is None
    assert best_f1(PrecisionRecall(np.zeros(0), np.zeros(0), np.zeros(0), num_gt=2)) is None

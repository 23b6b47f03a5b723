"""The calibration error, by hand and by a second way."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detection.evaluation.class_boxes import Bools, Floats
from detection.evaluation.reliability import (
    judge_split,
    reliability,
    reliability_equal_mass,
    reliability_metrics,
)
from tests.evaluation.judged import make_judged
from tests.evaluation.splits import make_detections, make_record, make_split, random_split

BOX = (10, 10, 50, 50)
FAR = (150, 100, 190, 140)


def arrays(scores: list[float], correct: list[int]) -> tuple[Floats, Bools]:
    return np.array(scores, dtype=np.float64), np.array(correct, dtype=np.bool_)


def test_error_by_hand() -> None:
    # bin .9: |.9 - 1| 1/5; bin .8: |.825 - 1/2| 2/5; bin .3: |.3 - 0| 1/5; bin .2: |.2 - 1| 1/5
    found = reliability(*arrays([0.9, 0.8, 0.85, 0.3, 0.2], [1, 1, 0, 0, 1]))

    assert found.ece == pytest.approx(0.02 + 0.13 + 0.06 + 0.16)
    assert found.overconfidence == pytest.approx((0.9 + 0.8 + 0.85 + 0.3 + 0.2) / 5 - 3 / 5)
    assert [each.count for each in found.bins] == [0, 0, 1, 1, 0, 0, 0, 0, 2, 1]
    assert found.bins[0].score is None
    assert found.bins[0].precision is None
    assert (found.bins[8].low, found.bins[8].high, found.bins[8].precision) == (0.8, 0.9, 0.5)


def test_a_score_on_an_edge_belongs_to_the_upper_bin_and_one_to_the_last() -> None:
    found = reliability(*arrays([number / 10 for number in range(11)], [0] * 11))

    assert [each.count for each in found.bins] == [1] * 9 + [2]


def test_equal_mass_by_hand() -> None:
    # {.1, .2, .3}: |.2 - 1/3| 3/6; {.4, .6, .8}: |.6 - 2/3| 3/6
    found = reliability_equal_mass(*arrays([0.8, 0.1, 0.6, 0.2, 0.4, 0.3], [1, 1, 0, 0, 1, 0]), num_bins=2)

    assert found.ece == pytest.approx((1 / 3 - 0.2) / 2 + (2 / 3 - 0.6) / 2)
    assert [(each.low, each.high, each.count) for each in found.bins] == [(0.1, 0.3, 3), (0.4, 0.8, 3)]


def test_equal_mass_keeps_equal_scores_together() -> None:
    found = reliability_equal_mass(*arrays([0.5] * 5 + [0.7], [1, 0, 1, 0, 1, 1]), num_bins=3)

    assert [(each.low, each.high, each.count) for each in found.bins] == [(0.5, 0.5, 5), (0.7, 0.7, 1)]


def naive_ece(scores: list[float], correct: list[bool], num_bins: int) -> float:
    """Loops over bins and detections."""
    total = 0.0
    for number in range(num_bins):
        inside = [
            row
            for row, score in enumerate(scores)
            if number / num_bins <= score and (score < (number + 1) / num_bins or number == num_bins - 1)
        ]
        if inside:
            mean_score = sum(scores[row] for row in inside) / len(inside)
            precision = sum(correct[row] for row in inside) / len(inside)
            total += len(inside) / len(scores) * abs(mean_score - precision)
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_bins", [1, 7, 10])
def test_error_equals_loops(seed: int, num_bins: int) -> None:
    rng = np.random.default_rng(seed)
    scores, correct = rng.random(60) ** 2, rng.random(60) < 0.4

    found = reliability(scores, correct, num_bins=num_bins)

    assert found.ece == pytest.approx(naive_ece(scores.tolist(), correct.tolist(), num_bins), abs=1e-12)
    assert found.num_detections == 60


@pytest.mark.parametrize("seed", range(3))
def test_order_and_equal_mass_of_distinct_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, correct, order = rng.random(47), rng.random(47) < 0.5, rng.permutation(47)

    found = reliability_equal_mass(scores, correct)

    assert {each.count for each in found.bins} <= {4, 5}
    assert sum(each.count for each in found.bins) == 47
    assert found.ece == pytest.approx(reliability_equal_mass(scores[order], correct[order]).ece)


def test_no_detections_have_no_error() -> None:
    nothing = arrays([], [])

    assert reliability(*nothing).ece is None
    assert reliability(*nothing).overconfidence is None
    assert len(reliability(*nothing).bins) == 10
    assert reliability_equal_mass(*nothing).ece is None
    assert reliability_equal_mass(*nothing).bins == ()


def test_detections_are_judged_as_by_voc_and_ignored_objects_leave_the_count() -> None:
    records = [
        make_record(7, [(BOX, 0), (FAR, 0)], ignore=[False, True]),
        make_record(9, [(BOX, 1)]),
    ]
    rows = {
        7: make_detections([(BOX, 0.9, 0), (BOX, 0.8, 0), (FAR, 0.7, 0), (BOX, 0.25, 1)]),  # right, repeat, ignored, -
        9: make_detections([(BOX, 0.5, 1), (FAR, 0.6, 0)]),
    }

    judged = judge_split(make_split(records), rows)

    assert judged["cat"].scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
    assert judged["cat"].correct.tolist() == [True, False, False]
    assert judged["cat"].image.tolist() == [0, 0, 1]
    assert judged["cat"].matches.num_gt == 1
    assert judged["dog"].correct.tolist() == [True, False]
    assert judged["dog"].gt_image.tolist() == [1]


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong_though_it_overlaps_it_little() -> None:
    crowd, member, beside = (0, 0, 200, 100), (10, 10, 40, 40), (190, 90, 220, 120)
    record = make_record(7, [(crowd, 0), (FAR, 1)], ignore=[True, False])
    rows = {7: make_detections([(member, 0.9, 0), (beside, 0.8, 0), (member, 0.7, 1)])}

    judged = judge_split(make_split([record]), rows)

    assert judged["cat"].scores.tolist() == pytest.approx([0.8])  # a ninth of it lies in the crowd
    assert judged["cat"].correct.tolist() == [False]
    assert judged["dog"].correct.tolist() == [False]  # the crowd is of cats


@pytest.mark.parametrize("seed", range(4))
def test_a_part_of_the_images_is_judged_as_if_it_were_alone(seed: int) -> None:
    data, detections = random_split(seed)
    chosen = np.arange(len(data.images)) % 2 == 0
    alone = make_split(
        [record for record, kept in zip(data.images, chosen, strict=True) if kept], class_names=data.class_names
    )
    of_alone = {
        record.image_id: detections[record.image_id] for record in alone.images if record.image_id in detections
    }

    for whole, expected in zip(
        judge_split(data, detections).values(), judge_split(alone, of_alone).values(), strict=True
    ):
        part = whole.of_images(chosen)
        assert part.scores.tolist() == expected.scores.tolist()
        assert part.correct.tolist() == expected.correct.tolist()
        assert part.matches.num_gt == expected.matches.num_gt


def test_metrics_are_plain_json_and_pool_the_classes() -> None:
    classes = {"cat": make_judged([0.9, 0.3], [True, False]), "dog": make_judged([], [])}

    found = reliability_metrics(classes)

    json.dumps(found, allow_nan=False)
    assert found["ece"] == pytest.approx((0.1 + 0.3) / 2)
    assert found["num_detections"] == 2
    assert [each["count"] for each in found["bins"]] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert found["per_class"]["cat"]["ece"] == found["ece"]
    assert found["per_class"]["dog"] == {
        "ece": None,
        "ece_equal_mass": None,
        "overconfidence": None,
        "num_detections": 0,
    }

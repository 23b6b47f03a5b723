"""Thresholds of a class: best F1, and the lowest that is precise enough."""

from __future__ import annotations

import pytest

from detection.evaluation.operating_point import OperatingPoint, best_f1, precise_point
from detection.evaluation.voc_map import precision_recall
from tests.evaluation.judged import make_judged

# Precision 1, 1/2, 2/3, 3/4, 3/5 at recall 1/4, 1/4, 2/4, 3/4, 3/4.
CURVE = precision_recall(make_judged([0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, True, False], missed=[0]).matches)


@pytest.mark.parametrize(
    ("precision", "threshold"),
    [(1.0, 0.9), (0.76, 0.9), (0.75, 0.6), (0.7, 0.6), (0.6, 0.6), (0.0, 0.6)],  # at 0.5 nothing more is found
)
def test_precise_enough(precision: float, threshold: float) -> None:
    point = precise_point(CURVE, precision)
    assert point is not None
    assert point.score_threshold == threshold
    assert point.precision >= precision


def test_best_f1() -> None:
    assert best_f1(CURVE) == OperatingPoint(0.6, pytest.approx(3 / 4), pytest.approx(3 / 4), pytest.approx(3 / 4))


def test_equal_scores_are_kept_together() -> None:
    curve = precision_recall(make_judged([0.9, 0.9], [True, False]).matches)
    assert precise_point(curve, 0.9) is None
    assert precise_point(curve, 0.5) == OperatingPoint(0.9, 0.5, 1.0, pytest.approx(2 / 3))


@pytest.mark.parametrize("correct", [[], [False]])
def test_nothing_right(correct: list[bool]) -> None:
    curve = precision_recall(make_judged([0.5] * len(correct), correct, missed=[0]).matches)
    assert precise_point(curve, 0.0) is None
    assert best_f1(curve) is None

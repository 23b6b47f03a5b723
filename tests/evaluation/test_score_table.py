"""What the slider cuts: exact at each of its places and at the thresholds of a class."""

from __future__ import annotations

import numpy as np
import pytest

from detection.evaluation.score_table import STEPS, Cut, score_tables, total
from detection.evaluation.summary import evaluate_detections
from tests.evaluation.splits import make_detections, make_record, make_split, random_split

A, B, NOWHERE = (0, 0, 10, 10), (20, 0, 30, 10), (100, 100, 110, 110)


def test_by_hand() -> None:
    data = make_split([make_record(1, [(A, 0), (B, 0)])])
    # 1/3 lies between two places of the slider.
    found = {1: make_detections([(A, 0.75, 0), (NOWHERE, 0.5, 0), (B, 1 / 3, 0), (NOWHERE, 0.3325, 0)])}
    cat, dog = score_tables(evaluate_detections(data, found).per_class).values()
    assert cat.best == float(np.float32(1 / 3))
    assert cat.ends == (0.75, 0.5, cat.best, 0.33)
    assert (cat.kept, cat.right) == ((1, 1, 1, 1), (1, 0, 1, 0))
    assert cat.cut(cat.best) == Cut(2, 1, 0)
    assert cat.cut(0.335) == Cut(1, 1, 1)
    assert cat.cut(0.33) == Cut(2, 2, 0)
    assert cat.cut(1.0) == Cut(0, 0, 2)
    assert (dog.ends, dog.best, dog.precise, dog.cut(0.0)) == ((), 0.5, None, Cut(0, 0, 0))
    assert total([Cut(1, 2, 3), Cut(4, 5, 6)]) == Cut(5, 7, 9)


def test_numbers_that_do_not_exist() -> None:
    empty = Cut(0, 0, 0)
    assert (empty.precision, empty.recall, empty.f1) == (None, None, None)
    assert (Cut(0, 0, 1).precision, Cut(0, 0, 1).recall, Cut(0, 1, 0).recall) == (None, 0.0, None)
    assert (Cut(2, 1, 0).precision, Cut(2, 1, 0).f1) == (pytest.approx(2 / 3), pytest.approx(4 / 5))


@pytest.mark.parametrize("seed", range(8))
def test_every_cut_is_exact(seed: int) -> None:
    evaluation = evaluate_detections(*random_split(seed))
    for name, table in score_tables(evaluation.per_class).items():
        numbers = evaluation.per_class[name]
        scores, correct = numbers.judged.scores, numbers.judged.correct
        for threshold in (*np.arange(0, STEPS + 1, 5) / STEPS, table.best):
            kept = scores >= threshold
            right = int(correct[kept].sum())
            assert table.cut(threshold) == Cut(right, int(kept.sum()) - right, numbers.num_gt - right)
        for point, threshold in ((numbers.best, table.best), (numbers.precise, table.precise)):
            if point is not None and threshold is not None:
                cut = table.cut(threshold)
                assert (cut.precision, cut.recall) == (pytest.approx(point.precision), pytest.approx(point.recall))
                assert cut.f1 == pytest.approx(point.f1)

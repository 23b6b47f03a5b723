"""Score maps and thresholds are found again where they are known, and measured on unseen images."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from detection.calibration import IDENTITY, ScoreMap
from detection.calibration_fit import fit_calibration, map_scores
from detection.evaluation.class_boxes import Floats
from detection.evaluation.operating_point import best_f1, precise_point
from detection.evaluation.reliability import JudgedClass, pool, reliability
from detection.evaluation.voc_map import precision_recall
from detection.platt import CLASS_STRENGTH, MIN_EXAMPLES, MIN_SLOPE, SHARED_STRENGTH, fit_score_map, fit_score_maps
from tests.evaluation.judged import draw_judged, make_judged


@pytest.mark.parametrize(("slope", "bias"), [(1.0, 0.0), (0.5, -1.0), (2.0, 0.8)])
def test_known_map_is_found(slope: float, bias: float) -> None:
    judged = draw_judged(1, 40_000, slope=slope, bias=bias)

    found = fit_score_map(judged.scores, judged.correct, prior=IDENTITY, strength=SHARED_STRENGTH)

    assert found == pytest.approx((slope, bias), abs=0.06)
    calibrated = map_scores(judged.scores, found)
    error = reliability(calibrated, judged.correct).ece
    assert error is not None
    assert error < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_minimum_equals_a_general_optimizers(seed: int) -> None:
    judged = draw_judged(seed, 40, slope=1.5, bias=-0.5)
    prior, strength = ScoreMap(0.8, 0.3), 1.7

    def loss(weights: Floats) -> float:
        total = 0.0
        for score, right in zip(judged.scores.tolist(), judged.correct.tolist(), strict=True):
            probability = 1 / (1 + math.exp(-(weights[0] * math.log(score / (1 - score)) + weights[1])))
            total -= math.log(probability if right else 1 - probability)
        return total + strength / 2 * ((weights[0] - prior.slope) ** 2 + (weights[1] - prior.bias) ** 2)

    expected = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}).x
    found = fit_score_map(judged.scores, judged.correct, prior=prior, strength=strength)

    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert found == fit_score_map(judged.scores, judged.correct, prior=prior, strength=strength)


def test_scores_that_say_the_opposite_keep_their_order() -> None:
    judged = draw_judged(2, 2000, slope=-1.0, bias=0.5)

    found = fit_score_map(judged.scores, judged.correct, prior=IDENTITY, strength=SHARED_STRENGTH)

    assert found.slope == MIN_SLOPE
    # With the slope fixed the best bias makes the mean score the share that is right (the pull is tiny here).
    assert map_scores(judged.scores, found).mean() == pytest.approx(judged.correct.mean(), abs=1e-3)


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_gives_finite_numbers(right: bool) -> None:
    scores = np.array([1.0, 0.9, 0.5, 0.0])
    found = fit_score_map(scores, np.full(4, right), prior=IDENTITY, strength=SHARED_STRENGTH)

    assert all(map(math.isfinite, found))
    assert (found.bias > 0) is right


def test_without_detections_the_prior_stays() -> None:
    nothing = make_judged([], [])

    assert fit_score_map(nothing.scores, nothing.correct, prior=ScoreMap(2.0, 0.5), strength=1.0) == (2.0, 0.5)
    assert fit_score_maps([nothing, nothing]) == [IDENTITY, IDENTITY]
    assert fit_score_maps([]) == []


def test_a_class_with_few_examples_takes_the_map_of_all() -> None:
    many = draw_judged(3, 3000, slope=0.6, bias=-1.0)
    few = make_judged([0.9] * (MIN_EXAMPLES - 1) + [0.2] * 50, [True] * (MIN_EXAMPLES - 1) + [False] * 50)
    enough = make_judged([0.9] * MIN_EXAMPLES + [0.2] * 50, [True] * MIN_EXAMPLES + [False] * 50)

    maps = fit_score_maps([many, few, enough])

    shared = fit_score_map(*pool([many, few, enough]), prior=IDENTITY, strength=SHARED_STRENGTH)
    assert maps[1] == shared
    assert maps[2] == fit_score_map(enough.scores, enough.correct, prior=shared, strength=CLASS_STRENGTH)
    assert maps[2] != shared


def test_a_class_is_drawn_to_the_map_of_all_the_more_the_less_it_shows() -> None:
    odd = draw_judged(5, 60, slope=1.0, bias=-1.5)
    alone = fit_score_map(odd.scores, odd.correct, prior=IDENTITY, strength=1e-9)
    distances = []
    for times in (1, 10, 100):  # the same detections again and again, so that only their number differs
        scores, correct = np.tile(odd.scores, times), np.tile(odd.correct, times)
        found = fit_score_map(scores, correct, prior=IDENTITY, strength=CLASS_STRENGTH)
        distances.append(math.dist(found, alone))

    assert math.dist(IDENTITY, alone) > distances[0] > distances[1] > distances[2]


def test_thresholds_are_calibrated_scores_of_the_same_detections() -> None:
    judged = draw_judged(6, 500, slope=0.5, bias=-1.0)

    fit = fit_calibration({"cat": judged}, 10, precision=0.8, fitted_on={"split": "val"})

    raw = best_f1(precision_recall(judged.matches))
    assert raw is not None
    (threshold,) = fit.calibration.thresholds["best"]
    assert threshold == map_scores(np.array([raw.score_threshold]), fit.calibration.maps[0])[0]
    assert fit.per_class["cat"].f1 == pytest.approx(raw.f1)
    (precise,) = fit.calibration.thresholds["precise"]
    assert precise is not None
    kept = map_scores(judged.scores, fit.calibration.maps[0]) >= precise
    assert judged.correct[kept].mean() >= 0.8


def test_errors_before_after_and_unseen() -> None:
    classes = {
        "cat": draw_judged(7, 4000, slope=0.5, bias=-1.5),
        "dog": draw_judged(8, 4000, slope=2.0, bias=1.0),
    }

    fit = fit_calibration(classes, 10, precision=0.9, fitted_on={})

    for row in fit.per_class.values():
        assert row.ece_before is not None
        assert row.ece_after is not None
        assert row.ece_unseen is not None
        assert row.ece_before > 0.1
        assert max(row.ece_after, row.ece_unseen) < 0.03
    assert fit.overall.ece_unseen is not None
    assert fit.overall.ece_unseen < 0.03
    assert fit.overall.num_detections == 8000


def naive_unseen(judged: JudgedClass, num_images: int, num_folds: int) -> tuple[float, float, float]:
    """Error, F1 and precision at 0.9 of one class, part by part, detection by detection."""
    scores, right, num_kept, num_found, right_of_precise = [], [], 0, 0, []
    for fold in range(num_folds):
        inside = np.array([image * num_folds // num_images == fold for image in range(num_images)])
        others, part = judged.of_images(~inside), judged.of_images(inside)
        score_map = fit_score_maps([others])[0]
        point = best_f1(precision_recall(others.matches))
        assert point is not None
        scores += map_scores(part.scores, score_map).tolist()
        right += part.correct.tolist()
        kept = part.scores >= point.score_threshold
        num_kept += int(kept.sum())
        num_found += int((kept & part.correct).sum())
        precise = precise_point(precision_recall(others.matches), 0.9)
        assert precise is not None
        right_of_precise += part.correct[part.scores >= precise.score_threshold].tolist()
    error = reliability(np.array(scores), np.array(right)).ece
    assert error is not None
    assert 0 < len(right_of_precise) < num_kept
    precision = sum(right_of_precise) / len(right_of_precise)
    return error, 2 * num_found / (num_kept + judged.matches.num_gt), precision


@pytest.mark.parametrize(("num_images", "num_folds"), [(12, 5), (3, 3)])
def test_unseen_numbers_equal_a_plain_loop(num_images: int, num_folds: int) -> None:
    judged = draw_judged(9, 150, slope=0.7, bias=-0.4, num_images=num_images)

    row = fit_calibration({"cat": judged}, num_images, precision=0.9, fitted_on={}).per_class["cat"]

    unseen = (row.ece_unseen, row.f1_unseen, row.precision_unseen)
    assert unseen == pytest.approx(naive_unseen(judged, num_images, num_folds))


def test_nothing_to_fit_gives_missing_numbers() -> None:
    classes = {"cat": make_judged([], []), "dog": make_judged([], [], missed=[0, 2])}

    fit = fit_calibration(classes, 3, precision=0.9, fitted_on={})

    assert fit.calibration.maps == (IDENTITY, IDENTITY)
    assert fit.calibration.thresholds == {"best": (None, None), "precise": (None, None)}
    assert (fit.overall.ece_before, fit.overall.ece_after, fit.overall.ece_unseen) == (None, None, None)
    assert (fit.per_class["cat"].f1, fit.per_class["cat"].f1_unseen) == (None, None)
    assert (fit.per_class["dog"].f1, fit.per_class["dog"].f1_unseen) == (0, 0)


def test_a_single_image_cannot_be_unseen() -> None:
    judged = make_judged([0.9, 0.4], [True, False])

    fit = fit_calibration({"cat": judged}, 1, precision=0.9, fitted_on={"split": "val"})

    row = fit.per_class["cat"]
    assert (row.ece_unseen, row.f1_unseen, row.precision_unseen, row.f1) == (None, None, None, 1)
    assert not row.has_own_map
    json.dumps(fit.calibration.to_header(["cat"]), allow_nan=False)
    assert fit.calibration.fitted_on["detections"] == 2

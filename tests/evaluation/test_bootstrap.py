"""Intervals by bootstrap: the recount equals pycocotools, with repeated images too; the intervals keep their word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detection.data.records import DetectionData
from detection.evaluation.bootstrap import Resampled, resample, usual_resamples
from detection.evaluation.class_boxes import Floats, Ints, pack_split
from detection.evaluation.coco_map import CocoSettings
from detection.evaluation.coco_matching import IOU_THRESHOLDS
from detection.evaluation.intervals import subtract
from detection.evaluation.matched_classes import MatchedClass, MatchedSplit, match_split
from detection.evaluation.resampling import MEASURES, draw_counts, leave_out_counts, mean_over_classes, weighted_ap
from detection.evaluation.summary import Evaluation, EvaluationSettings, evaluate_detections
from detection.structures import Detections
from tests.evaluation.splits import make_detections, make_record, make_split, perfect_detections, random_split

Found = dict[int, Detections]


def matched_of(data: DetectionData, detections: Found, *, max_detections: int = 100) -> MatchedSplit:
    ids = [record.image_id for record in data.images]
    return match_split(pack_split(data, detections), image_ids=ids, max_detections=max_detections)


def assert_same_numbers(values: Floats, expected: Evaluation) -> None:
    """``values`` (C, M) of one recount against the evaluation by pycocotools and the devkits."""
    coco = expected.coco
    means = [coco["AP"], coco["AP50"], coco["AP75"], expected.voc07, expected.voc12, expected.ilsvrc]
    rows = [(each.ap, each.ap50, None, each.voc07, each.voc12, each.ilsvrc) for each in expected.per_class.values()]
    for row, numbers in zip([mean_over_classes(values[None])[0], *values], [means, *rows], strict=True):
        for name, value, number in zip(MEASURES, row.tolist(), numbers, strict=True):
            if number is not None:
                assert value == pytest.approx(number, abs=1e-9), name
            elif name == "AP" or numbers is means:
                assert np.isnan(value), name


@pytest.mark.parametrize("seed", range(20))
def test_with_every_image_once_it_is_the_evaluation(seed: int) -> None:
    data, detections = random_split(seed)
    values = weighted_ap(matched_of(data, dict(detections)), np.ones((1, len(data.images)), np.int32))
    assert_same_numbers(values[0], evaluate_detections(data, detections))


def test_the_number_of_counted_detections_is_obeyed() -> None:
    data, detections = random_split(4)  # with one image of more than 100 detections
    matched = matched_of(data, dict(detections), max_detections=3)
    expected = evaluate_detections(data, detections, settings=EvaluationSettings(CocoSettings(max_detections=3)))
    values = weighted_ap(matched, np.ones((1, len(data.images)), np.int32))
    assert_same_numbers(values[0], expected)
    assert expected.coco["AP"] != evaluate_detections(data, detections).coco["AP"]


def with_distinct_scores(detections: Found, rng: np.random.Generator) -> Found:
    """Of equal scores the order would depend on the numbers of the images, which copies need to have."""
    count = sum(map(len, detections.values()))
    scores = iter(rng.permutation(np.arange(1, count + 1)).tolist())
    return {
        image_id: replace(
            found, scores=torch.tensor(sorted((next(scores) / count for _ in range(len(found))), reverse=True))
        )
        for image_id, found in detections.items()
    }


def repeated(data: DetectionData, detections: Found, counts: Ints) -> tuple[DetectionData, Found]:
    """The data set with every image literally there as often as it counts, under new ids."""
    records, found, unjudged = [], {}, set()
    for record, count in zip(data.images, counts.tolist(), strict=True):
        for _ in range(count):
            records.append(replace(record, image_id=len(records) + 1))
            unjudged |= {(len(records), label) for image_id, label in data.unjudged if image_id == record.image_id}
            if record.image_id in detections:
                found[len(records)] = detections[record.image_id]
    return replace(data, images=tuple(records), unjudged=frozenset(unjudged)), found


@pytest.mark.parametrize("seed", range(10))
def test_counts_equal_literally_repeated_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data, tied = random_split(seed)
    detections = with_distinct_scores(dict(tied), rng)
    counts = draw_counts(len(data.images), 4, seed=seed)
    values = weighted_ap(matched_of(data, detections), counts)
    for row, drawn in zip(values, counts, strict=True):
        assert_same_numbers(row, evaluate_detections(*repeated(data, detections, drawn)))


def test_of_many_resamples_each_is_counted_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    data, detections = random_split(2)
    matched, counts = matched_of(data, dict(detections)), draw_counts(len(data.images), 50, seed=1)
    together = weighted_ap(matched, counts)
    monkeypatch.setattr("detection.evaluation.resampling._MAX_ENTRIES", 1)
    np.testing.assert_allclose(weighted_ap(matched, counts), together, rtol=0, atol=1e-12)
    assert len(np.unique(together[:, 0, 0])) > 10


def test_draws() -> None:
    counts = draw_counts(7, 400, seed=3)
    assert counts.shape == (400, 7)
    assert (counts.sum(axis=1) == 7).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.2)
    np.testing.assert_array_equal(counts, draw_counts(7, 400, seed=3))
    assert not np.array_equal(counts, draw_counts(7, 400, seed=4))
    assert draw_counts(0, 5, seed=0).shape == (5, 0)


def test_a_large_split_takes_fewer_resamples() -> None:
    assert (usual_resamples(100_000), usual_resamples(100_001)) == (1000, 300)


def test_one_image_has_numbers_but_no_interval() -> None:
    data = make_split([make_record(1, [((0, 0, 20, 20), 0)])])
    told = resample(matched_of(data, perfect_detections(data)), num_resamples=20).estimates()
    assert told.measures["AP"].value == pytest.approx(1.0)
    assert told.measures["AP"].interval is None
    assert told.to_document()["measures"]["AP"] == {"value": pytest.approx(1.0), "low": None, "high": None}


def test_empty_splits() -> None:
    for records in ([], [make_record(1), make_record(2)]):
        told = resample(matched_of(make_split(records), {}), num_resamples=20).estimates()
        assert all(each.value is None and each.interval is None for each in told.measures.values())


def test_no_detections_give_zero_without_width_and_an_absent_class_nothing() -> None:
    data = make_split([make_record(number, [((0, 0, 20, 20), 0)]) for number in (1, 2, 3)])
    told = resample(matched_of(data, {}), num_resamples=50).estimates()
    assert told.measures["AP50"].to_document() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert told.per_class["cat"]["AP"].value == 0.0
    assert told.per_class["dog"]["AP"].value is None


def test_a_class_of_one_image_has_no_interval_and_some_resamples_lack_it() -> None:
    records = [make_record(1, [((0, 0, 20, 20), 0)]), make_record(2, [((0, 0, 20, 20), 1)])]
    data = make_split(records)
    resampled = resample(matched_of(data, perfect_detections(data)), num_resamples=200)
    assert 0.15 < np.isnan(resampled.of_class(0, "AP").drawn).mean() < 0.35  # a quarter takes the other image twice
    told = resampled.estimates()
    assert told.per_class["cat"]["AP"].value == pytest.approx(1.0)
    assert told.per_class["cat"]["AP"].interval is None
    assert told.measures["AP"].interval is not None


def test_images_left_out_in_turn() -> None:
    np.testing.assert_array_equal(leave_out_counts(3, 200), [[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(leave_out_counts(5, 2), [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]])
    assert leave_out_counts(0, 200).shape == (0, 0)


def half_found(data: DetectionData) -> Found:
    """Every object of every second image."""
    everything = perfect_detections(data)
    return {record.image_id: everything[record.image_id] for record in data.images[::2]}


def resampled_pair(num_images: int = 30) -> tuple[Resampled, Resampled]:
    data = make_split([make_record(number, [((0, 0, 20, 20), 0)]) for number in range(1, num_images + 1)])
    results = (perfect_detections(data), half_found(data))
    return resample(matched_of(data, results[0])), resample(matched_of(data, results[1]))


def test_equal_results_differ_by_exactly_nothing() -> None:
    data, detections = random_split(3)
    first, second = (resample(matched_of(data, dict(detections)), num_resamples=100) for _ in range(2))
    for name in MEASURES:
        told = subtract(first.mean(name), second.mean(name))
        assert told.difference.to_document() == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert (told.a_better, told.b_better, told.verdict) == (0.0, 0.0, "same")


def test_the_better_result_is_named_whichever_comes_first() -> None:
    whole, half = (each.mean("AP") for each in resampled_pair())
    better, worse = subtract(whole, half), subtract(half, whole)
    assert (better.verdict, worse.verdict) == ("a", "b")
    assert (better.a_better, better.b_better) == (1.0, 0.0)
    first, second = better.difference, worse.difference
    assert first.interval is not None
    assert second.interval is not None
    assert second.value == -(first.value or 0)
    assert (second.interval.low, second.interval.high) == pytest.approx((-first.interval.high, -first.interval.low))


def test_a_missed_object_in_a_few_images_widens_the_interval() -> None:
    data = make_split([make_record(number, [((0, 0, 20, 20), 0)]) for number in range(1, 31)])
    wrong = {1: make_detections([((50, 50, 70, 70), 0.95, 0)])}
    told = resample(matched_of(data, perfect_detections(data) | wrong)).estimates().measures["AP50"]
    assert told.value is not None
    assert told.interval is not None
    assert 0 < told.interval.low < told.value < told.interval.high < 1


def draw_world(rng: np.random.Generator, num_images: int) -> tuple[MatchedSplit, MatchedSplit]:
    """Two detectors of which the second is a little worse, on images some of which are hard for both."""
    hard = rng.normal(0, 1, num_images)
    classes: tuple[list[MatchedClass], list[MatchedClass]] = ([], [])
    for mean_objects in (2.5, 1.0):
        num_gt = rng.poisson(mean_objects, num_images)
        gt_image = np.repeat(np.arange(num_images), num_gt)
        ease = rng.normal(1, 1, len(gt_image)) - 0.7 * hard[gt_image]
        like_objects = rng.poisson(0.25 * mean_objects * np.exp(0.4 * hard))
        false_image = np.repeat(np.tile(np.arange(num_images), 2), np.append(like_objects, rng.poisson(4, num_images)))
        false_ease = rng.normal(-2.2, 0.7, len(false_image)) + 0.2 * hard[false_image]
        false_ease[: like_objects.sum()] += 2.2
        image = np.concatenate([gt_image, false_image])
        for detector, handicap in zip(classes, (0.0, 0.25), strict=True):
            quality = ease - handicap + 0.4 * rng.normal(size=len(ease))
            iou = 1 - 0.5 * np.exp(-0.6 * (quality + 2.5))  # 0.5 at a quality of -2.5
            scores = np.concatenate([quality, false_ease]) + 0.4 * rng.normal(size=len(image))
            order = np.argsort(-scores)
            correct = np.append(iou, np.zeros(len(false_image)))[order] >= IOU_THRESHOLDS[:, None]
            detector.append(MatchedClass(image[order], correct, np.zeros_like(correct), gt_image))
    first, second = (_split_of(detector, num_images) for detector in classes)
    return first, second


def _split_of(classes: list[MatchedClass], num_images: int) -> MatchedSplit:
    """Without detections for the devkits: only COCO's numbers are looked at."""
    nothing = np.zeros((1, 0), np.bool_)
    empty = tuple(MatchedClass(np.zeros(0, np.int64), nothing, nothing, each.gt_image) for each in classes)
    return MatchedSplit(("often", "rare"), num_images, tuple(classes), empty, empty)


def measure_coverage(*, num_images: int, num_resamples: int, repetitions: int) -> dict[str, float]:
    """Share of intervals that hold the true numbers, which 60,000 images tell; of A and of the difference A - B."""
    truth = np.zeros((2, len(MEASURES)))
    for seed in range(3):
        for row, matched in enumerate(draw_world(np.random.default_rng(seed), 20_000)):
            truth[row] += mean_over_classes(weighted_ap(matched, np.ones((1, 20_000), np.int32)))[0] / 3
    hits = dict.fromkeys(("AP", "AP50", "difference of AP", "difference of AP50"), 0)
    for seed in range(repetitions):
        a, b = (
            resample(matched, num_resamples=num_resamples, seed=seed)
            for matched in draw_world(np.random.default_rng(1000 + seed), num_images)
        )
        for column, name in enumerate(("AP", "AP50")):
            told = subtract(a.mean(name), b.mean(name))
            for key, number, true in (
                (name, told.a, truth[0, column]),
                (f"difference of {name}", told.difference, truth[0, column] - truth[1, column]),
            ):
                assert number.interval is not None
                hits[key] += int(number.interval.low <= true <= number.interval.high)
    return {name: count / repetitions for name, count in hits.items()}


@pytest.mark.slow
def test_intervals_hold_the_true_value_as_often_as_they_say() -> None:
    shares = measure_coverage(num_images=150, num_resamples=400, repetitions=300)
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares

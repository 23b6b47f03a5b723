"""Two results side by side: who finds what, whose classes come in another order, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection.data.records import DetectionData
from detection.errors import InputError
from detection.evaluation.class_boxes import pack_split
from detection.evaluation.compare_page import better_text, rows, write_comparison
from detection.evaluation.comparison import Change, Comparison, compare_results
from detection.evaluation.intervals import Estimate, Interval
from detection.evaluation.judged_file import JudgedSplit
from detection.evaluation.summary import evaluate_detections
from detection.evaluation.texts import estimate_text, signed_text
from detection.structures import Detections
from tests.evaluation.splits import make_detections, make_record, make_split, perfect_detections, random_split

CAT, DOG = ((0, 0, 20, 20), 0), ((50, 50, 90, 90), 1)


def judged_of(
    data: DetectionData, detections: Mapping[int, Detections], *, threshold: float = 0.5, max_detections: int = 100
) -> JudgedSplit:
    return JudgedSplit.of(
        data,
        pack_split(data, detections),
        score_thresholds=np.full(len(data.class_names), threshold),
        max_detections=max_detections,
        context={"model": f"cut at {threshold}"},
    )


@pytest.fixture
def data() -> DetectionData:
    records = [make_record(1, [CAT, DOG]), make_record(2, [CAT]), make_record(3), make_record(4, [DOG], ignore=[True])]
    return make_split(records)


def compared(data: DetectionData) -> Comparison:
    """A finds all but the cat of the second image; B misses the dog and has three false detections."""
    cat, dog, elsewhere = CAT[0], DOG[0], (100, 100, 120, 120)
    a = {1: make_detections([(cat, 0.9, 0), (dog, 0.9, 1)]), 4: make_detections([(dog, 0.9, 1)])}
    b = {
        1: make_detections([(cat, 0.8, 0), (dog, 0.3, 1)]),  # the dog is below the threshold
        2: make_detections([(cat, 0.8, 0), (elsewhere, 0.9, 0)]),
        3: make_detections([(cat, 0.7, 0), (dog, 0.6, 1)]),
    }
    return compare_results(judged_of(data, a), judged_of(data, b), num_resamples=200)


def test_the_seed_decides_the_draws() -> None:
    data, some = random_split(3)
    _, other = random_split(3)
    other = {image_id: found[found.scores > 0.4] for image_id, found in other.items()}

    def intervals(seed: int) -> Mapping[str, object]:
        return compare_results(judged_of(data, some), judged_of(data, other), num_resamples=100, seed=seed).measures

    assert intervals(1) == intervals(1) != intervals(2)


def test_objects_and_false_detections_by_image(data: DetectionData) -> None:
    told = compared(data)
    assert told.total == Change(both=1, only_a=1, only_b=1, neither=0, false_a=0, false_b=3)
    assert dict(told.changes) == {
        1: Change(both=0, only_a=0, only_b=1, neither=0, false_a=0, false_b=1),
        2: Change(both=0, only_a=0, only_b=0, neither=0, false_a=0, false_b=2),
        0: Change(both=1, only_a=1, only_b=0, neither=0, false_a=0, false_b=0),
    }
    assert list(told.changes) == [1, 2, 0]


def test_numbers_are_those_of_the_evaluation() -> None:
    data, detections = random_split(5)
    fewer = dict(list(detections.items())[:3])
    told = compare_results(judged_of(data, detections), judged_of(data, fewer), num_resamples=100)
    for side, found in (("a", detections), ("b", fewer)):
        expected = evaluate_detections(data, found)
        for name, number in (("AP", expected.coco["AP"]), ("AP75", expected.coco["AP75"]), ("VOC12", expected.voc12)):
            assert getattr(told.measures[name], side).value == pytest.approx(number, abs=1e-9)
    difference = told.measures["AP"]
    assert difference.difference.value == pytest.approx((difference.a.value or 0) - (difference.b.value or 0))


def test_a_result_does_not_differ_from_itself(data: DetectionData) -> None:
    judged = judged_of(data, perfect_detections(data))
    told = compare_results(judged, judged, num_resamples=100)
    assert not told.changes
    assert {each.verdict for each in told.measures.values()} == {"same"}
    assert all(each.difference.value == 0.0 for each in told.measures.values())


def test_classes_in_another_order_and_classes_that_only_one_knows(data: DetectionData) -> None:
    flipped = [replace(record, labels=1 - record.labels) for record in data.images]
    other = replace(data, class_names=("dog", "cat", "cow"), category_ids=(1, 2, 3), images=tuple(flipped))
    extra = {3: make_detections([((0, 0, 9, 9), 0.9, 2)])}
    thresholds = np.array([0.1, 0.2, 0.3])
    b = replace(judged_of(other, perfect_detections(other) | extra), score_thresholds=thresholds)
    told = compare_results(judged_of(data, perfect_detections(data)), b, num_resamples=100)
    assert told.measures["AP"].verdict == "same"
    assert list(told.per_class) == ["cat", "dog", "cow"]
    assert told.per_class["cow"]["AP"].a.value is None
    np.testing.assert_array_equal(told.b.judged.score_thresholds, [0.2, 0.1, 0.3])
    assert told.total == Change(both=3, only_a=0, only_b=0, neither=0, false_a=0, false_b=1)


def test_a_blacklist_means_the_same_classes_in_another_order(data: DetectionData) -> None:
    flipped = tuple(replace(record, labels=1 - record.labels) for record in data.images)
    a = replace(data, unjudged=frozenset({(1, 0)}))
    b = replace(data, class_names=("dog", "cat"), images=flipped, unjudged=frozenset({(1, 1)}))
    found_a, found_b = perfect_detections(a), perfect_detections(b)
    # The cat that both miss is not judged; the dog beside it is.
    found_a[1], found_b[1] = make_detections([(DOG[0], 0.9, 1)]), make_detections([(DOG[0], 0.9, 0)])
    told = compare_results(judged_of(a, found_a), judged_of(b, found_b), num_resamples=100)
    assert told.measures["VOC12"].a.value == told.measures["VOC12"].b.value == 0.75
    assert told.measures["ILSVRC"].a.value == told.measures["ILSVRC"].b.value == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: replace(data, images=data.images[:2]),
            r"A has 4 images and B 2, 2 of them only in A, such as image3\.jpg; evaluate both on the same data",
        ),
        (lambda data: replace(data, images=data.images[::-1]), "the same images come in another order"),
        (
            lambda data: replace(data, images=(make_record(1, [CAT]), *data.images[1:])),
            r"image1\.jpg has 2 labelled objects in A and 1 in B",
        ),
        (
            lambda data: replace(data, images=(data.images[0], make_record(2, [DOG]), *data.images[2:])),
            r"the labels of image2\.jpg differ",
        ),
        (lambda data: replace(data, images=(replace(data.images[0], size_hw=(9, 9)), *data.images[1:])), "the sizes"),
        (
            lambda data: replace(data, unjudged=frozenset({(1, 0)})),
            "ILSVRC's blacklist has 0 pairs of image and class in A and 1 in B",
        ),
    ],
)
def test_other_data_are_refused(change: object, message: str, data: DetectionData) -> None:
    assert callable(change)
    other = change(data)
    with pytest.raises(InputError, match=message):
        compare_results(judged_of(data, {}), judged_of(other, {}))


def test_another_number_of_counted_detections_is_refused(data: DetectionData) -> None:
    with pytest.raises(InputError, match="A counts 100 detections per image and class and B 300"):
        compare_results(judged_of(data, {}), judged_of(data, {}, max_detections=300))


def test_documents_and_pages_without_any_number(tmp_path: Path) -> None:
    for number, records in enumerate(([], [make_record(1)])):
        empty = make_split(records)
        told = compare_results(judged_of(empty, {}), judged_of(empty, {}), num_resamples=100)
        write_comparison(tmp_path / str(number), told, names=("a", "b"))
        document = json.loads((tmp_path / str(number) / "compare.json").read_text())
        assert document["measures"]["AP"]["difference"] == {"value": None, "low": None, "high": None}
        assert document["measures"]["AP"]["verdict"] == "unknown"
        page = (tmp_path / str(number) / "compare.html").read_text(encoding="utf-8")
        assert "no interval: it takes objects in 6 images." in page


def test_texts() -> None:
    assert estimate_text(Estimate(0.6123, Interval(0.58, 0.6449))) == "0.612 [0.580..0.645]"
    assert estimate_text(Estimate(0.5, None)) == "0.500"
    assert estimate_text(Estimate(None, None)) == signed_text(Estimate(None, None)) == "n/a"
    assert signed_text(Estimate(-0.00001, Interval(-0.01, 0.02))) == "+0.000 [-0.010..+0.020]"
    assert signed_text(Estimate(0.25, None)) == "+0.250"


@pytest.mark.parametrize("num_images", [2, 5, 6])
def test_few_images_give_no_verdict_though_all_of_them_say_the_same(num_images: int) -> None:
    data = make_split([make_record(number, [CAT]) for number in range(num_images)])
    nothing = judged_of(data, {})
    told = compare_results(judged_of(data, perfect_detections(data)), nothing, num_resamples=100).measures["AP"]
    assert told.verdict == ("a" if num_images == 6 else "unknown")
    assert (told.difference.interval is None) == (num_images < 6)
    assert compare_results(nothing, nothing, num_resamples=100).measures["AP"].verdict == "same"


def test_the_longest_interval_fills_the_drawing() -> None:
    data, some = random_split(3)
    fewer = {image_id: found[found.scores > 0.4] for image_id, found in some.items()}
    told = compare_results(judged_of(data, fewer), judged_of(data, some), num_resamples=100)
    bars = [row.bar for row in rows(told.measures)]
    ends = [max(abs(bar.low), abs(bar.low + bar.width)) for bar in bars if bar]
    assert len(ends) == len(bars)
    assert max(ends) == pytest.approx(100, abs=0.11)
    assert all(-100 <= bar.at <= 100 for bar in bars if bar)
    difference = told.measures["AP"]
    assert better_text(difference).startswith("A ")

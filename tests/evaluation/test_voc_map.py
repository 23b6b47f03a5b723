"""VOC and ILSVRC average precision: exact fractions, and a second implementation in plain loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from detection.data.records import DetectionData
from detection.evaluation.class_boxes import ClassBoxes, pack_by_class, pack_split, pairwise_iou
from detection.evaluation.voc_map import (
    average_precision_voc07,
    average_precision_voc12,
    ilsvrc_iou_bound,
    match_ilsvrc,
    match_voc,
    precision_recall,
)
from detection.structures import Detections
from tests.evaluation import naive_devkits as naive
from tests.evaluation.splits import make_detections, make_record, make_split, random_split

A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
NOWHERE = (100, 100, 110, 110)


def one_class(
    objects: Sequence[Sequence[float]],
    found: Sequence[tuple[Sequence[float], float]],
    *,
    difficult: Sequence[bool] | None = None,
) -> ClassBoxes:
    """One image of one class."""
    data = make_split([make_record(1, [(box, 0) for box in objects], ignore=difficult)], class_names=["cat"])
    return pack_by_class(data, {1: make_detections([(box, score, 0) for box, score in found])})[0]


AP_TABLE = {
    # right, wrong, right: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3; the third object is never found.
    # 11 points: 0, .1, .2, .3 see 1; .4, .5, .6 see 2/3; the rest 0.
    "one missed": ([A, B, C], [(A, 0.9), (NOWHERE, 0.8), (B, 0.7)], None, (4 + 3 * 2 / 3) / 11, 1 / 3 + 2 / 9),
    # wrong, right: precision 0, 1/2 at recall 0, 1.
    "wrong first": ([A], [(NOWHERE, 0.9), (A, 0.8)], None, 1 / 2, 1 / 2),
    # The second detection of A is false: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    "duplicate": ([A, B], [(A, 0.9), (A, 0.8), (B, 0.7)], None, (6 + 5 * 2 / 3) / 11, 1 / 2 + 1 / 3),
    # A is difficult: its detection is left out, one object remains.
    "difficult": ([A, B], [(A, 0.9), (B, 0.8)], [True, False], 1.0, 1.0),
    # The difficult object may be hit many times.
    "difficult twice": ([A, B], [(A, 0.9), (A, 0.85), (B, 0.8)], [True, False], 1.0, 1.0),
    # Equal scores keep the given order: wrong first.
    "tie": ([A], [(NOWHERE, 0.5), (A, 0.5)], None, 1 / 2, 1 / 2),
    "tie, right first": ([A], [(A, 0.5), (NOWHERE, 0.5)], None, 1.0, 1.0),
    "nothing found": ([A], [], None, 0.0, 0.0),
    "absent": ([], [(A, 0.9)], None, None, None),
    "only difficult": ([A], [(A, 0.9)], [True], None, None),
    "empty": ([], [], None, None, None),
}


@pytest.mark.parametrize("case", AP_TABLE)
def test_average_precision_by_hand(case: str) -> None:
    objects, found, difficult, voc07, voc12 = AP_TABLE[case]
    curve = precision_recall(match_voc(one_class(objects, found, difficult=difficult)))
    assert average_precision_voc07(curve) == (voc07 if voc07 is None else pytest.approx(voc07, abs=1e-12))
    assert average_precision_voc12(curve) == (voc12 if voc12 is None else pytest.approx(voc12, abs=1e-12))


def test_a_recall_of_three_in_ten_reaches_the_point_three_tenths() -> None:
    objects = [(12 * number, 0, 12 * number + 10, 10) for number in range(10)]
    curve = precision_recall(match_voc(one_class(objects, [(box, 0.9) for box in objects[:3]])))
    assert average_precision_voc07(curve) == pytest.approx(4 / 11)


def test_overlap_of_exactly_one_half_suffices() -> None:
    matches = match_voc(one_class([(0, 0, 10, 10)], [((0, 0, 10, 20), 0.9)]))
    assert matches.gt_index.tolist() == [0]
    assert match_voc(one_class([(0, 0, 10, 10)], [((0, 0, 10, 21), 0.9)])).gt_index.tolist() == [-1]


def test_voc_looks_only_at_the_best_overlap_and_ilsvrc_at_the_best_free_one() -> None:
    near, other = (0, 0, 100, 100), (0, 0, 100, 80)
    boxes = one_class([near, other], [(near, 0.9), ((0, 0, 100, 95), 0.8)])
    assert match_voc(boxes).gt_index.tolist() == [0, -1]
    assert match_ilsvrc(boxes).gt_index.tolist() == [0, 1]


def test_ilsvrc_prefers_a_free_object_to_an_ignored_one() -> None:
    boxes = one_class([A, A], [(A, 0.9), (A, 0.8), (A, 0.7)], difficult=[True, False])
    matches = match_ilsvrc(boxes)
    assert matches.gt_index.tolist() == [1, 0, 0]
    assert matches.ignored.tolist() == [False, True, True]
    assert matches.num_gt == 1


def test_the_ilsvrc_bound_is_lower_for_small_objects() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 30, 15], [0, 0, 25, 25], [0, 0, 20, 20]], dtype=np.float64)
    # 100/400, 450/1000, 625/1225 > 1/2, 400/900
    assert ilsvrc_iou_bound(boxes) == pytest.approx([1 / 4, 9 / 20, 1 / 2, 4 / 9])


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_devkits_in_plain_loops(seed: int) -> None:
    data, detections = random_split(seed, num_images=8)
    split = pack_split(data, detections)
    for label, boxes in enumerate(pack_by_class(data, detections)):
        voc = precision_recall(match_voc(boxes))
        ilsvrc = precision_recall(match_ilsvrc(boxes.without(split.unjudged_images(label))))
        voc_naive = naive.voc_curve(*naive_rows(data, detections, label))
        blacklist = {row for row, record in enumerate(data.images) if (record.image_id, label) in data.unjudged}
        ilsvrc_naive = naive.ilsvrc_curve(*naive_rows(data, detections, label), blacklist)
        truths, _ = naive_rows(data, detections, label)
        num_judged = sum(not truth.difficult and truth.image not in blacklist for truth in truths)
        assert ilsvrc.num_gt == num_judged
        assert list(zip(voc.recall.tolist(), voc.precision.tolist(), strict=True)) == voc_naive
        assert list(zip(ilsvrc.recall.tolist(), ilsvrc.precision.tolist(), strict=True)) == ilsvrc_naive
        if boxes.num_gt:
            assert average_precision_voc07(voc) == pytest.approx(naive.eleven_points(voc_naive), abs=1e-12)
            assert average_precision_voc12(voc) == pytest.approx(naive.area_under(voc_naive), abs=1e-12)
        else:
            assert average_precision_voc12(voc) is None
        if num_judged:
            assert average_precision_voc12(ilsvrc) == pytest.approx(naive.area_under(ilsvrc_naive), abs=1e-12)
        else:
            assert average_precision_voc12(ilsvrc) is None


def naive_rows(
    data: DetectionData, detections: Mapping[int, Detections], label: int
) -> tuple[list[naive.Truth], list[naive.Found]]:
    """The boxes of one class in VOC's inclusive geometry, in the order of the split."""
    truths, found = [], []
    for index, record in enumerate(data.images):
        for box, own, ignore in zip(record.boxes.tolist(), record.labels, record.ignore, strict=True):
            if own == label:
                truths.append(naive.Truth(index, naive.inclusive(box), bool(ignore)))
        answer = detections.get(record.image_id, make_detections([]))
        for box, score, own in zip(answer.boxes.tolist(), answer.scores.tolist(), answer.labels, strict=True):
            if own == label:
                found.append(naive.Found(index, naive.inclusive(box), score))
    return truths, found


def test_half_open_iou_equals_the_inclusive_iou_of_the_devkit() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 40, (60, 2))
    boxes = np.hstack([corners, corners + rng.integers(1, 40, (60, 2))]).astype(np.float32)
    iou = pairwise_iou(boxes[:30], boxes[30:])
    for row in range(30):
        for column in range(30):
            one, two = naive.inclusive(boxes[row].tolist()), naive.inclusive(boxes[30 + column].tolist())
            assert iou[row, column] == naive.inclusive_iou(one, two)


def test_iou_of_boxes_without_area_or_without_rows() -> None:
    flat, box = np.array([[5.0, 5, 5, 5]]), np.array([[0.0, 0, 10, 10]])
    assert pairwise_iou(flat, flat).tolist() == [[0.0]]
    assert pairwise_iou(flat, box).tolist() == [[0.0]]
    assert pairwise_iou(np.zeros((0, 4)), box).shape == (0, 1)
    assert pairwise_iou(box, np.zeros((0, 4))).shape == (1, 0)


def test_detections_of_an_unknown_image_or_label_are_refused() -> None:
    data = make_split([make_record(1)])
    with pytest.raises(ValueError, match="image id 5"):
        pack_by_class(data, {5: make_detections([])})
    with pytest.raises(ValueError, match=r"image id 1 have labels outside \[0, 2\)"):
        pack_by_class(data, {1: make_detections([(A, 0.5, 2)])})

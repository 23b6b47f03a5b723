"""The confusion matrix: by hand, and its rows sum to the objects."""

from __future__ import annotations

import numpy as np
import pytest

from detection.evaluation.class_boxes import pack_split
from detection.evaluation.confusion import MAX_IMAGES, Confusion, count_confusions
from detection.evaluation.explanation_view import AMONG_OTHERS, MAX_MATRIX_CLASSES, OTHERS, confusion_matrix
from tests.evaluation.splits import make_detections, make_record, make_split, perfect_detections, random_split

CAT, DOG = 0, 1
A, B, C, NOWHERE = (0, 0, 50, 50), (100, 0, 150, 50), (200, 0, 250, 50), (0, 100, 50, 150)
HALF = np.array([0.5, 0.5])


def test_by_hand() -> None:
    data = make_split([make_record(1, [(A, CAT), (B, DOG), (C, CAT)]), make_record(2)])
    found = {
        1: make_detections([(A, 0.9, DOG), (B, 0.8, DOG), (C, 0.4, CAT)]),  # the cat at C stays below the threshold
        2: make_detections([(NOWHERE, 0.7, CAT)]),
    }
    confusion = count_confusions(pack_split(data, found), HALF)
    assert confusion.counts.tolist() == [[0, 1, 1], [0, 1, 0], [1, 0, 0]]
    assert confusion.images == {(0, 1): (0,), (0, 2): (0,), (1, 1): (0,), (2, 0): (1,)}
    assert confusion.to_metrics(data.class_names) == [
        {"truth": "cat", "predicted": "dog", "count": 1},
        {"truth": "cat", "predicted": None, "count": 1},
        {"truth": "dog", "predicted": "dog", "count": 1},
        {"truth": None, "predicted": "cat", "count": 1},
    ]


def test_the_better_detection_takes_the_object_whatever_its_class() -> None:
    data = make_split([make_record(1, [(A, CAT)])])
    found = {1: make_detections([(A, 0.9, DOG), (A, 0.8, CAT)])}
    assert count_confusions(pack_split(data, found), HALF).counts.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("labels", [(CAT, DOG), (DOG, CAT)])
def test_a_box_with_two_classes_is_not_confused(labels: tuple[int, int]) -> None:
    """As of a person who is labelled a man too: found as both, both are right."""
    data = make_split([make_record(1, [(A, label) for label in labels])])
    counts = count_confusions(pack_split(data, perfect_detections(data)), HALF).counts
    assert counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_greater_overlap_counts_more_than_the_class() -> None:
    near = (0, 0, 50, 45)
    data = make_split([make_record(1, [(near, CAT), (A, DOG)])])
    counts = count_confusions(pack_split(data, {1: make_detections([(A, 0.9, CAT)])}), HALF).counts
    assert counts.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]


def test_detections_on_ignored_objects_are_not_counted() -> None:
    data = make_split([make_record(1, [(A, CAT)], ignore=[True])])
    found = {1: make_detections([(A, 0.9, CAT), (A, 0.8, DOG), ((5, 5, 15, 15), 0.7, DOG), (B, 0.6, DOG)])}
    assert count_confusions(pack_split(data, found), HALF).counts.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("threshold", [0.0, 0.5, 2.0])
def test_rows_sum_to_the_objects(seed: int, threshold: float) -> None:
    data, detections = random_split(seed)
    split = pack_split(data, detections)
    confusion = count_confusions(split, np.full(split.num_classes, threshold))
    assert confusion.counts[:-1].sum(axis=1).tolist() == split.gt_counts().tolist()
    assert confusion.counts[-1, -1] == 0
    assert (confusion.counts[-1].sum() == 0) or threshold <= 1
    matrix = confusion_matrix(confusion, data.class_names)
    assert [total for _, _, total in matrix.rows[:-1]] == split.gt_counts().tolist()


def test_few_images_are_named_those_with_most_first() -> None:
    records = [make_record(number, [(A, CAT)]) for number in range(1, 20)]
    records.append(make_record(20, [(A, CAT), (B, CAT)]))
    confusion = count_confusions(pack_split(make_split(records), {}), HALF)
    assert confusion.images == {(0, 2): (19, *range(MAX_IMAGES - 1))}


def test_no_images() -> None:
    assert count_confusions(pack_split(make_split([]), {}), HALF).counts.tolist() == [[0] * 3] * 3
    assert count_confusions(pack_split(make_split([]), {}), HALF).images == {}


def test_many_classes_stand_together() -> None:
    number = MAX_MATRIX_CLASSES + 4
    counts = np.diag(np.full(number + 1, 5))
    counts[-1, -1] = 0
    counts[number - 1, 0] = 3  # the last class is taken for the first
    confusion = Confusion(counts, {(number - 1, 0): (7,)})
    matrix = confusion_matrix(confusion, tuple(f"class {label}" for label in range(number)))
    assert len(matrix.rows) == MAX_MATRIX_CLASSES + 1
    assert matrix.columns[-3:] == (OTHERS, AMONG_OTHERS, "missed")
    assert "class 0" in matrix.columns
    assert f"class {number - 1}" in matrix.columns
    names = [name for name, _, _ in matrix.rows]
    row = matrix.rows[names.index(f"class {number - 1}")]
    assert (row[1][0].count, row[1][0].images, row[2]) == (3, (7,), 8)
    others = matrix.rows[names.index(OTHERS)]
    assert others[2] == 5 * (number - (MAX_MATRIX_CLASSES - 1))


def test_confusions_among_the_other_classes_are_not_right() -> None:
    """20 classes: 15 with many misses have rows; of the other five, each found five times, 15 is taken for 16 twice."""
    number, shown = MAX_MATRIX_CLASSES + 4, MAX_MATRIX_CLASSES - 1
    counts = np.diag([5] * number + [0])
    counts[:shown, -1] = 99
    counts[shown, shown + 1], counts[shown, 0], counts[shown, -1], counts[-1, shown] = 2, 3, 1, 4
    images = {(shown, shown + 1): (7,), (shown, shown): (8,)}
    matrix = confusion_matrix(Confusion(counts, images), tuple(f"class {label}" for label in range(number)))
    name, cells, total = matrix.rows[shown]
    assert (name, total) == (OTHERS, 25 + 2 + 3 + 1)
    told = dict(zip(matrix.columns, cells, strict=True))
    right, mixed = told[OTHERS], told[AMONG_OTHERS]
    assert (right.count, right.is_right, right.images) == (25, True, (8,))
    assert (mixed.count, mixed.is_right, mixed.images) == (2, False, (7,))
    assert (told["class 0"].count, told["missed"].count) == (3, 1)
    false = dict(zip(matrix.columns, matrix.rows[-1][1], strict=True))
    assert (false[OTHERS].count, false[AMONG_OTHERS].count, false["missed"].count) == (4, 0, 0)
    assert [row[0] for row in matrix.rows[:2]] == ["class 0", "class 1"]
    assert [cell.count for cell in matrix.rows[1][1]] == [0, 5, *[0] * 15, 99]

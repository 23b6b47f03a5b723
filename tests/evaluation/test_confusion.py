"""The confusion matrix: by hand, and its rows sum to the objects."""

from __future__ import annotations

import numpy as np
import pytest

from detection.evaluation.class_boxes import pack_split
from detection.evaluation.confusion import MAX_IMAGES, Confusion, count_confusions
from detection.evaluation.explanation_view import MAX_MATRIX_CLASSES, OTHERS, confusion_matrix
from tests.evaluation.splits import make_detections, make_record, make_split, random_split

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
    assert matrix.columns[-2:] == (OTHERS, "missed")
    assert "class 0" in matrix.columns
    assert f"class {number - 1}" in matrix.columns
    names = [name for name, _, _ in matrix.rows]
    row = matrix.rows[names.index(f"class {number - 1}")]
    assert (row[1][0].count, row[1][0].images, row[2]) == (3, (7,), 8)
    others = matrix.rows[names.index(OTHERS)]
    assert others[2] == 5 * (number - (MAX_MATRIX_CLASSES - 1))

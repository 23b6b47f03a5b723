"""What is found and missed at any threshold, and the images with most errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from detection.data.records import DetectionData
from detection.evaluation.class_boxes import pack_split
from detection.evaluation.image_errors import ImageErrors, find_outcomes, rank_image_errors
from detection.evaluation.voc_map import match_for_use
from detection.structures import Detections
from tests.evaluation.splits import make_detections, make_record, make_split, perfect_detections, random_split

A, B, NOWHERE = (0, 0, 10, 10), (20, 0, 30, 10), (100, 100, 110, 110)


def rank(data: DetectionData, found: Mapping[int, Detections]) -> list[ImageErrors]:
    split = pack_split(data, found)
    return rank_image_errors(split, find_outcomes(split), np.array([0.5, 0.5]))


def test_misses_and_confident_false_detections_of_all_classes_add_up() -> None:
    data = make_split([make_record(7, [(A, 0)]), make_record(8, [(A, 0), (B, 1)]), make_record(9), make_record(10)])
    found = {
        7: make_detections([(A, 0.9, 0), (NOWHERE, 0.4, 0)]),  # the false one is below the threshold
        8: make_detections([(A, 0.9, 1), (B, 0.3, 1)]),  # wrong class: a false dog; the true dog is below
        9: make_detections([(NOWHERE, 0.8, 1)]),
    }
    expected = [ImageErrors(1, num_missed=2, num_false=1), ImageErrors(2, num_missed=0, num_false=1)]
    assert rank(data, found) == expected


def test_a_detection_at_the_threshold_is_kept() -> None:
    data = make_split([make_record(1, [(A, 0)])])
    assert rank(data, {1: make_detections([(A, 0.5, 0)])}) == []


def test_ignored_objects_and_perfect_images_are_no_errors() -> None:
    data = make_split([make_record(1, [(A, 0), (B, 0)], ignore=[False, True])])
    assert rank(data, perfect_detections(data)) == []


def test_no_images_have_no_errors() -> None:
    assert rank(make_split([]), {}) == []


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [0.0, 0.375, 0.75])
def test_the_outcomes_hold_at_every_threshold(seed: int, threshold: float) -> None:
    """Matching what a threshold keeps gives the same errors as thresholding what was matched."""
    split = pack_split(*random_split(seed))
    thresholds = np.full(split.num_classes, threshold)
    outcomes = find_outcomes(split)
    missed, false = outcomes.missed(split, thresholds), outcomes.false(split, thresholds)
    for label in range(split.num_classes):
        boxes = split.of_class(label)
        rows = boxes.scores >= threshold
        kept = replace(boxes, boxes=boxes.boxes[rows], scores=boxes.scores[rows], image=boxes.image[rows])
        matches = match_for_use(kept)
        expected = ~kept.gt_ignore
        expected[matches.gt_index[matches.correct]] = False
        assert np.array_equal(missed[split.gt_rows_of(label)], expected)
        assert np.count_nonzero(false[split.rows_of(label)]) == np.count_nonzero(matches.wrong)

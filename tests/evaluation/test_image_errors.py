"""The images with most errors."""

from __future__ import annotations

from detection.evaluation.class_boxes import pack_by_class
from detection.evaluation.image_errors import ImageErrors, rank_image_errors
from tests.evaluation.splits import make_detections, make_record, make_split, perfect_detections

A, B, NOWHERE = (0, 0, 10, 10), (20, 0, 30, 10), (100, 100, 110, 110)


def test_misses_and_confident_false_detections_of_all_classes_add_up() -> None:
    data = make_split([make_record(7, [(A, 0)]), make_record(8, [(A, 0), (B, 1)]), make_record(9), make_record(10)])
    found = {
        7: make_detections([(A, 0.9, 0), (NOWHERE, 0.4, 0)]),  # the false one is below the threshold
        8: make_detections([(A, 0.9, 1), (B, 0.3, 1)]),  # wrong class: a false dog; the true dog is below
        9: make_detections([(NOWHERE, 0.8, 1)]),
    }
    ranked = rank_image_errors(pack_by_class(data, found), [0.5, 0.5])
    assert ranked == [ImageErrors(1, num_missed=2, num_false=1), ImageErrors(2, num_missed=0, num_false=1)]


def test_a_detection_at_the_threshold_is_kept() -> None:
    data = make_split([make_record(1, [(A, 0)])])
    packed = pack_by_class(data, {1: make_detections([(A, 0.5, 0)])})
    assert rank_image_errors(packed, [0.5, 0.5]) == []


def test_ignored_objects_and_perfect_images_are_no_errors() -> None:
    data = make_split([make_record(1, [(A, 0), (B, 0)], ignore=[False, True])])
    assert rank_image_errors(pack_by_class(data, perfect_detections(data)), [0.5, 0.5]) == []


def test_no_images_have_no_errors() -> None:
    assert rank_image_errors(pack_by_class(make_split([]), {}), [0.5, 0.5]) == []

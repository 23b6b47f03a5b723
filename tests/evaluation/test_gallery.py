"""Pictures of errors: which are chosen, and where their boxes stand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from detection.data.records import DetectionData
from detection.evaluation.explanation import explain
from detection.evaluation.gallery import Gallery, choose_varied
from detection.evaluation.summary import evaluate_detections
from detection.structures import Detections
from tests.evaluation.splits import make_detections, make_record, make_split, perfect_detections

CAT, DOG = 0, 1
A, B, CORNER = (20, 20, 60, 60), (100, 50, 250, 180), (280, 190, 300, 200)


def gallery_of(data: DetectionData, found: dict[int, Detections]) -> Gallery:
    return Gallery(data, explain(data, found, evaluate_detections(data, found)))


def test_the_worst_of_every_group_in_turn() -> None:
    groups, badness = np.array([0, 0, 0, 1, 2, 1]), np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.3])
    assert choose_varied(groups, badness, limit=10).tolist() == [0, 4, 5, 1, 3, 2]
    assert choose_varied(groups, badness, limit=2).tolist() == [0, 4]
    assert choose_varied(np.zeros(0, np.int64), np.zeros(0), limit=2).tolist() == []


def test_cuts_tell_what_is_wrong(image_path: Path) -> None:
    objects = [(A, CAT), (B, DOG)]
    data = make_split([make_record(1, objects, path=image_path), make_record(2, [(CORNER, CAT)], path=image_path)])
    found = {1: make_detections([(B, 0.9, CAT), (A, 0.8, CAT)]), 2: make_detections([(CORNER, 0.25, CAT)])}
    gallery = gallery_of(data, found)  # best F1 of cat at 0.25: 2 right, 1 false
    (false,) = gallery.worst_false()
    assert (false.heading, false.reason) == ("cat 0.900", "classification: it is dog")
    assert false.mark.kind == "wrong"
    assert false.mark.is_subject
    assert false.picture.marks[-1] == false.mark
    assert false.picture.pixels.startswith("data:image/jpeg;base64,")
    (missed,) = gallery.worst_missed()
    assert (missed.heading, missed.reason) == ("dog", "no detection of any score")
    assert (missed.mark.kind, missed.mark.score, missed.mark.box) == ("truth", -1.0, (100.0, 50.0, 150.0, 130.0))
    assert missed.picture.view == (0, 0, 300, 200)  # twice 150 pixels, cut to the image
    (worst,) = gallery.worst_images()
    assert (worst.errors.num_missed, worst.errors.num_false) == (1, 1)
    assert worst.picture.view == (0, 0, 300, 200)
    kinds = [(mark.kind, mark.score) for mark in worst.picture.marks]
    assert kinds == [
        ("truth", pytest.approx(0.8)),
        ("truth", -1.0),
        ("right", pytest.approx(0.8)),
        ("wrong", pytest.approx(0.9)),
    ]


def test_an_object_found_too_weakly_says_so(image_path: Path) -> None:
    data = make_split([make_record(1, [(A, CAT), (B, CAT)], path=image_path)])
    weak = [((0, 0, 5, 5), 0.5 - 0.0625 * row, CAT) for row in range(4)]
    found = {1: make_detections([(A, 0.9, CAT), *weak, (CORNER, 0.125, CAT), (B, 0.0625, CAT)])}
    (missed,) = gallery_of(data, found).worst_missed()
    assert missed.reason == "a detection below the threshold (score 0.062)"


def test_of_many_boxes_the_worst_are_drawn(image_path: Path) -> None:
    """300 cats, nine of them missed, and a large missed dog; 40 dogs that are not there."""
    grid = [(x, y, x + 3, y + 3) for y in range(0, 144, 12) for x in range(0, 300, 12)]
    data = make_split([make_record(1, [*((box, CAT) for box in grid), (B, DOG)], path=image_path)])
    noise = [((x, 190, x + 2, 192), 0.1, DOG) for x in range(40)]
    gallery = gallery_of(data, {1: make_detections([*((box, 0.9, CAT) for box in grid[:-9]), *noise])})
    (worst,) = gallery.worst_images()
    truths = [mark for mark in worst.picture.marks if mark.kind == "truth"]
    detections = [mark for mark in worst.picture.marks if mark.kind != "truth"]
    assert (len(truths), len(detections)) == (120, 120)
    assert sum(mark.score < 0 for mark in truths) == worst.errors.num_missed == 10
    assert worst.picture.num_left_out == 301 + 291 + 40 - 240
    (dog,) = [cut for cut in gallery.worst_missed() if cut.heading == "dog"]
    assert dog.picture.marks[-1] == dog.mark
    assert dog.picture.num_left_out > 0
    assert sum(mark.kind == "truth" for mark in dog.picture.marks) == 120


def test_a_subject_is_drawn_among_many_boxes(image_path: Path) -> None:
    """The largest of 200 missed cats is the last of its image."""
    data = make_split([make_record(1, [(A, CAT)] * 199 + [(B, CAT)], path=image_path)])
    first = gallery_of(data, {}).worst_missed()[0]
    assert first.mark.box == (100.0, 50.0, 150.0, 130.0)
    assert first.picture.marks[-1] == first.mark
    assert len(first.picture.marks) == 121
    assert first.picture.num_left_out == 79


def test_few_boxes_are_all_drawn(image_path: Path) -> None:
    data = make_split([make_record(1, [(A, CAT), (B, DOG)], path=image_path)])
    (worst,) = gallery_of(data, {}).worst_images()
    assert (len(worst.picture.marks), worst.picture.num_left_out) == (2, 0)


def test_an_unreadable_image_is_told(tmp_path: Path) -> None:
    data = make_split([make_record(1, [(A, CAT)], path=tmp_path / "gone.png")])
    (missed,) = gallery_of(data, {}).worst_missed()
    assert missed.picture.view == (0, 0, 80, 80)  # twice 40 pixels around (40, 40)
    assert missed.picture.pixels == ""
    assert "gone.png" in missed.picture.note


def test_an_image_smaller_than_its_labels_say(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), np.zeros((10, 10, 3), dtype=np.uint8))
    data = make_split([make_record(1, [(B, CAT), (CORNER, CAT)], path=path)])
    large, corner = gallery_of(data, {}).worst_missed()
    assert large.picture.note == ""
    assert corner.picture.view == (260, 160, 40, 40)  # moved into the image
    assert corner.picture.note == "it has another size than its label file says"


def test_nothing_wrong_has_no_pictures() -> None:
    data = make_split([make_record(1, [(A, CAT)])])
    gallery = gallery_of(data, perfect_detections(data))
    assert (gallery.worst_false(), gallery.worst_missed(), gallery.worst_images()) == ([], [], [])

"""Drawn boxes: where they are, what colour they have, and that the image is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection.structures import Detections, Target
from detection.visualize import class_colour, draw_detections, draw_targets

NAMES = ("cat", "dog", "Käse")


def black(height: int = 120, width: int = 160) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A black image."""
    return np.zeros((height, width, 3), dtype=np.uint8)


def found(*rows: tuple[list[float], float, int], size_hw: tuple[int, int] = (120, 160)) -> Detections:
    """(box, score, label) rows."""
    boxes = torch.tensor([box for box, _, _ in rows]).reshape(-1, 4)
    scores, labels = torch.tensor([row[1] for row in rows]), torch.tensor([row[2] for row in rows], dtype=torch.int64)
    return Detections(boxes, scores, labels, size_hw)


def test_the_outline_lies_on_the_first_and_last_pixels_of_the_box() -> None:
    drawn = draw_detections(black(), found(([50, 60, 90, 100], 0.9, 0)), class_names=NAMES)
    colour = class_colour(0)
    for row, column in ((99, 70), (80, 50), (80, 89)):
        assert tuple(drawn[row, column]) == colour
    for row, column in ((100, 70), (80, 49), (80, 90), (80, 70)):
        assert tuple(drawn[row, column]) == (0, 0, 0)


def test_the_image_given_is_not_changed() -> None:
    image = black()
    image.setflags(write=False)
    assert draw_detections(image, found(([5, 5, 90, 90], 0.9, 0)), class_names=NAMES).any()
    assert not image.any()


def test_the_best_detection_is_on_top() -> None:
    box = [50.0, 60, 90, 100]
    drawn = draw_detections(black(), found((box, 0.9, 0), (box, 0.3, 1)), class_names=NAMES)
    assert tuple(drawn[99, 70]) == class_colour(0)


def test_nothing_to_draw_gives_a_copy() -> None:
    image = black()
    for drawn in (
        draw_detections(image, Detections.empty((120, 160)), class_names=NAMES),
        draw_targets(image, target([], [], []), class_names=NAMES),
    ):
        assert np.array_equal(drawn, image)
        assert drawn is not image


def target(boxes: list[list[float]], labels: list[int], ignore: list[bool]) -> Target:
    """The labels of an image of 120 x 160."""
    columns = (torch.tensor(labels, dtype=torch.int64), torch.tensor(ignore, dtype=torch.bool))
    return Target(torch.tensor(boxes).reshape(-1, 4), *columns, (120, 160))


def test_ignored_objects_are_grey() -> None:
    objects = target([[50, 60, 90, 100], [5, 60, 40, 100]], [0, 1], [True, False])
    drawn = draw_targets(black(), objects, class_names=NAMES)
    grey = drawn[99, 70].tolist()
    assert grey[0] == grey[1] == grey[2] > 0
    assert tuple(drawn[99, 20]) == class_colour(1)


@pytest.mark.parametrize("box", [[-50.0, -50, 500, 500], [159.0, 119, 160, 120], [0.0, 0, 0, 0], [-1e30, 0, 1e30, 5]])
def test_boxes_at_and_beyond_the_edges(box: list[float]) -> None:
    assert draw_detections(black(), found((box, 0.9, 2)), class_names=NAMES).shape == (120, 160, 3)


def test_an_image_of_one_pixel() -> None:
    drawn = draw_detections(black(1, 1), found(([0, 0, 1, 1], 0.9, 0), size_hw=(1, 1)), class_names=NAMES)
    assert drawn.shape == (1, 1, 3)


def test_neighbouring_classes_have_clearly_different_colours() -> None:
    colours = np.array([class_colour(label) for label in range(12)], dtype=np.int64)
    distances = np.abs(colours[:, None] - colours[None, :]).sum(axis=2) + 1000 * np.eye(12, dtype=np.int64)
    assert distances.min() > 30
    assert distances[np.arange(11), np.arange(1, 12)].min() > 150


def test_lines_grow_with_the_image() -> None:
    box = [400.0, 600, 900, 1000]
    drawn = draw_detections(black(1280, 1280), found((box, 0.9, 0), size_hw=(1280, 1280)), class_names=NAMES)
    assert (drawn[800, 380:420] != 0).any(axis=1).sum() >= 4


@pytest.mark.parametrize(
    ("name", "written"), [("café", "cafe"), ("Größe", "Grosse"), ("猫", "class 1"), ("naïve 猫", "class 1")]
)
def test_names_are_written_in_the_letters_that_there_are(name: str, written: str) -> None:
    detection = found(([50, 60, 90, 100], 0.9, 1))
    drawn = draw_detections(black(), detection, class_names=("a", name, "c"))
    assert np.array_equal(drawn, draw_detections(black(), detection, class_names=("a", written, "c")))

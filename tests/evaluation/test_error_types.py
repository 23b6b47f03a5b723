"""Kinds of error: each with known members and a cost worked out by hand; AP50 as pycocotools has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from detection.data.records import DetectionData
from detection.evaluation.class_boxes import pack_split, pairwise_iou, share_inside
from detection.evaluation.coco_map import coco_map
from detection.evaluation.error_types import (
    BACKGROUND,
    BOTH,
    CLASSIFICATION,
    DUPLICATE,
    ERROR_KINDS,
    LEFT_OUT,
    LOCALISATION,
    RIGHT,
    ErrorAnalysis,
    find_errors,
)
from detection.structures import Detections
from tests.evaluation.splits import Box, make_detections, make_record, make_split, random_split

CAT, DOG = 0, 1
A, B, NOWHERE = (0, 0, 100, 100), (150, 0, 250, 100), (260, 150, 290, 190)
LOW_A = (0, 0, 100, 40)  # IoU 0.4 with A

HALF = (51 + 50 * 2 / 3) / 101  # precision 1 up to recall 1/2, 2/3 up to 1


def analyse(
    objects: Sequence[tuple[Box, int]],
    found: Sequence[tuple[Box, float, int]],
    *,
    ignore: Sequence[bool] | None = None,
    max_detections: int = 100,
) -> ErrorAnalysis:
    data = make_split([make_record(1, objects, ignore=ignore)])
    return find_errors(pack_split(data, {1: make_detections(found)}), max_detections=max_detections)


def only(**counts: int) -> dict[str, int]:
    return dict.fromkeys(ERROR_KINDS, 0) | counts


@pytest.mark.parametrize(
    ("objects", "found", "counts", "base", "costs"),
    [
        # The one dog is taken for a cat; with its class put right it is found.
        ([(A, DOG)], [(A, 0.9, CAT)], only(classification=1), 0.0, {"classification": 1.0}),
        ([(A, CAT)], [(LOW_A, 0.9, CAT)], only(localisation=1), 0.0, {"localisation": 1.0}),
        # Cat: wrong, then right: AP 1/2. Dog: 0. Without the wrong cat 1 and 0; the missed dog forgiven 1/2 and 1.
        (
            [(B, CAT), (A, DOG)],
            [(LOW_A, 0.9, CAT), (B, 0.5, CAT)],
            only(both=1, missed=1),
            0.25,
            {"both": 0.25, "missed": 0.5},
        ),
        (
            [(A, CAT), (B, CAT)],
            [(A, 0.9, CAT), (A, 0.8, CAT), (B, 0.7, CAT)],
            only(duplicate=1),
            HALF,
            {"duplicate": 1 - HALF},
        ),
        (
            [(A, CAT), (B, CAT)],
            [(A, 0.9, CAT), (NOWHERE, 0.8, CAT), (B, 0.7, CAT)],
            only(background=1),
            HALF,
            {"background": 1 - HALF},
        ),
        # One of two found: precision 1 at 51 of 101 points; stretched, at all.
        ([(A, CAT), (B, CAT)], [(A, 0.9, CAT)], only(missed=1), 51 / 101, {"missed": 50 / 101}),
        # The cat at A becomes the better dog, the other dog goes: dog stays 1, cat rises from 1/2.
        (
            [(A, DOG), (B, CAT)],
            [(A, 0.9, CAT), (A, 0.6, DOG), (B, 0.5, CAT)],
            only(classification=1),
            0.75,
            {"classification": 0.25},
        ),
        # Nothing detected: the only class is forgiven its objects, and nothing is wrong.
        ([(A, CAT)], [], only(missed=1), 0.0, {"missed": 1.0}),
    ],
)
def test_kinds_and_costs_by_hand(
    objects: list[tuple[Box, int]],
    found: list[tuple[Box, float, int]],
    counts: dict[str, int],
    base: float,
    costs: dict[str, float],
) -> None:
    errors = analyse(objects, found)
    assert errors.counts() == counts
    assert errors.ap50 == pytest.approx(base)
    assert errors.costs == pytest.approx(dict.fromkeys(ERROR_KINDS, 0.0) | costs)


def test_an_overlap_with_its_own_class_counts_before_another_class() -> None:
    errors = analyse([(A, CAT), (LOW_A, DOG)], [(LOW_A, 0.9, CAT)])
    assert errors.kinds.tolist() == [LOCALISATION]
    assert errors.targets.tolist() == [0]
    assert errors.counts() == only(localisation=1, missed=1)


def test_ignored_objects_never_make_errors() -> None:
    inside = (10, 10, 30, 30)
    errors = analyse([(A, CAT)], [(A, 0.9, CAT), (inside, 0.8, CAT), (A, 0.7, DOG)], ignore=[True])
    assert errors.kinds.tolist() == [LEFT_OUT, LEFT_OUT, BACKGROUND]
    assert errors.counts() == only(background=1)
    assert errors.costs == dict.fromkeys(ERROR_KINDS)  # nothing is to be found


def test_detections_beyond_the_limit_are_not_looked_at() -> None:
    errors = analyse([(A, CAT), (B, CAT)], [(A, 0.9, CAT), (B, 0.8, CAT), (NOWHERE, 0.7, DOG)], max_detections=1)
    assert errors.kinds.tolist() == [RIGHT, LEFT_OUT, BACKGROUND]
    assert errors.counts() == only(background=1, missed=1)


def test_counts_at_thresholds() -> None:
    errors = analyse([(A, CAT), (B, DOG)], [(A, 0.9, CAT), (A, 0.8, CAT), (B, 0.4, CAT)])
    assert errors.counts() == only(duplicate=1, classification=1)
    assert errors.counts(np.array([0.5, 0.5])) == only(duplicate=1, missed=1)
    assert errors.counts(np.array([0.95, 0.5])) == only(missed=2)


def test_nothing_at_all() -> None:
    errors = find_errors(pack_split(make_split([]), {}))
    assert errors.counts() == only()
    assert errors.costs == dict.fromkeys(ERROR_KINDS)
    assert find_errors(pack_split(make_split([], class_names=[]), {})).counts() == only()


@pytest.mark.parametrize("seed", range(20))
def test_the_ap_is_that_of_pycocotools(seed: int) -> None:
    data, detections = random_split(seed)
    # Equal scores: pycocotools goes by image id, whatever the order of the images.
    images = tuple(sorted(data.images, key=lambda record: -record.image_id))
    errors = find_errors(
        pack_split(replace(data, images=images), detections), image_ids=[record.image_id for record in images]
    )
    expected = coco_map(data, detections).summary["AP50"]
    assert errors.ap50 == (None if expected is None else pytest.approx(expected, abs=1e-9))


def plain_kind(same: list[float], other: list[float], crowd: list[float]) -> int:
    """The kind of a detection that found no free object, from its overlaps."""
    best_same, best_other = max(same, default=0.0), max(other, default=0.0)
    if max(crowd, default=0.0) >= 0.5:
        return LEFT_OUT
    if 0.1 <= best_same < 0.5:
        return LOCALISATION
    if best_other >= 0.5:
        return CLASSIFICATION
    if best_same >= 0.5:
        return DUPLICATE
    return BACKGROUND if max(best_same, best_other) <= 0.1 else BOTH


def plain_kinds(data: DetectionData, detections: Mapping[int, Detections]) -> dict[tuple[int, int], int]:
    """The same kinds one detection at a time: (image id, row) -> kind."""
    kinds: dict[tuple[int, int], int] = {}
    for record in data.images:
        found = detections.get(record.image_id, Detections.empty(record.size_hw))
        iou = pairwise_iou(found.boxes.numpy(), record.boxes)
        inside = share_inside(found.boxes.numpy(), record.boxes)
        objects = list(enumerate(zip(record.labels.tolist(), record.ignore.tolist(), strict=True)))
        taken: set[int] = set()
        seen = dict.fromkeys(range(len(data.class_names)), 0)
        for row, label in enumerate(found.labels.tolist()):
            seen[label] += 1
            same = [g for g, (name, ignore) in objects if name == label and not ignore]
            other = [iou[row, g] for g, (name, ignore) in objects if name != label and not ignore]
            crowd = [inside[row, g] for g, (name, ignore) in objects if name == label and ignore]
            free = [g for g in same if g not in taken and iou[row, g] >= 0.5 and seen[label] <= 100]
            if free:
                taken.add(max(free, key=lambda g: (iou[row, g], g)))
            found_none = LEFT_OUT if seen[label] > 100 else plain_kind([iou[row, g] for g in same], other, crowd)
            kinds[record.image_id, row] = RIGHT if free else found_none
    return kinds


@pytest.mark.parametrize("seed", range(12))
def test_kinds_equal_those_found_one_by_one(seed: int) -> None:
    data, detections = random_split(seed)
    errors = find_errors(pack_split(data, detections))
    expected = plain_kinds(data, detections)
    for image, record in enumerate(data.images):
        kinds = errors.kinds[errors.split.image == image].tolist()
        assert kinds == [expected[record.image_id, row] for row in range(len(kinds))]
    if seed == 1:
        assert {RIGHT, LEFT_OUT, LOCALISATION, BACKGROUND} <= set(errors.kinds.tolist())

"""Weighted boxes fusion: small cases by hand, and the paper's steps written down a second time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from detection.fusion import fuse_detections
from detection.structures import Detections
from tests.detection.pixel_detector import rows_of

SIZE = (100, 100)


def found(*rows: tuple[float, int, tuple[float, ...]]) -> Detections:
    """Detections of (score, label, box) rows."""
    boxes = torch.tensor([box for _, _, box in rows], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([label for _, label, _ in rows], dtype=torch.int64)
    return Detections(boxes, torch.tensor([score for score, _, _ in rows]), labels, SIZE)


LOW, HIGH = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 12.0)  # IoU 100 / 120 = 0.83
FAR = (50.0, 50.0, 60.0, 60.0)


def test_boxes_are_averaged_by_their_scores() -> None:
    fused = fuse_detections([found((0.75, 1, LOW)), found((0.25, 1, HIGH))])
    # y2 = (0.75 * 10 + 0.25 * 12) / (0.75 + 0.25); score = (0.75 + 0.25) / 2 * min(2, 2) / 2
    assert rows_of(fused) == [(0.5, 1, 0.0, 0.0, 10.0, 10.5)]


def test_what_one_of_two_lists_holds_is_half_as_sure() -> None:
    fused = fuse_detections([found((0.75, 1, LOW)), found()])
    assert rows_of(fused) == [(0.375, 1, *LOW)]


def test_two_boxes_of_one_list_are_two_objects() -> None:
    fused = fuse_detections([found((0.75, 0, LOW), (0.5, 0, HIGH)), found((0.25, 0, HIGH))])
    assert rows_of(fused) == [(0.375, 0, *LOW), (0.375, 0, *HIGH)]  # the second list's box overlaps HIGH more


@pytest.mark.parametrize("seed", range(4))
def test_a_list_twice_comes_back_as_it_is(seed: int) -> None:
    once = random_lists(seed, num_lists=1)  # with repeats
    twice = fuse_detections(once * 2)
    torch.testing.assert_close(twice.boxes, once[0].boxes)
    torch.testing.assert_close(twice.scores, once[0].scores)
    assert torch.equal(twice.labels, once[0].labels)


def test_classes_are_apart() -> None:
    fused = fuse_detections([found((0.75, 1, LOW)), found((0.5, 2, LOW))])
    assert rows_of(fused) == [(0.25, 2, *LOW), (0.375, 1, *LOW)]


def test_the_threshold_itself_is_not_enough() -> None:
    lists = [found((0.75, 0, LOW)), found((0.25, 0, HIGH))]
    assert len(fuse_detections(lists, iou_threshold=100 / 120)) == 2
    assert len(fuse_detections(lists, iou_threshold=99 / 120)) == 1


def test_one_list_comes_back_as_it_is() -> None:
    only = found((0.9, 2, LOW), (0.8, 1, LOW), (0.7, 1, HIGH), (0.3, 1, FAR), (0.1, 1, (0.1, 0.2, 30.3, 40.7)))
    fused = fuse_detections([only])
    assert torch.equal(fused.boxes, only.boxes)
    assert torch.equal(fused.scores, only.scores)
    assert torch.equal(fused.labels, only.labels)
    assert fused.image_size_hw == SIZE


def test_empty_lists_give_an_empty_one() -> None:
    fused = fuse_detections([found(), found()])
    assert len(fused) == 0
    assert fused.boxes.dtype == torch.float32
    assert fused.labels.dtype == torch.int64


def test_scores_of_zero_do_no_harm() -> None:
    assert rows_of(fuse_detections([found((0.0, 0, LOW)), found((0.0, 0, HIGH))])) == [(0.0, 0, *LOW)]
    assert rows_of(fuse_detections([found((0.5, 0, LOW)), found((0.0, 0, HIGH))])) == [(0.25, 0, *LOW)]


def test_lists_must_be_of_one_image() -> None:
    with pytest.raises(ValueError, match="expected detections of one image"):
        fuse_detections([found(), Detections.empty((9, 9))])
    with pytest.raises(ValueError, match="expected detections of one image"):
        fuse_detections([])


def random_lists(seed: int, num_lists: int = 3) -> list[Detections]:
    """Answers of several detectors about the same few objects: shaken boxes, some missing, some false."""
    rng = np.random.default_rng(seed)
    objects = [(int(rng.integers(2)), rng.uniform(0, 60, 2), rng.uniform(10, 40, 2)) for _ in range(6)]
    lists = []
    for _ in range(num_lists):
        rows = []
        for label, corner, size in objects:
            for _ in range(int(rng.integers(3))):
                start = corner + rng.normal(0, 2, 2)
                end = start + size * rng.uniform(0.8, 1.2, 2)
                rows.append((float(rng.uniform(0.01, 1)), label, (*start, *end)))
        rows.sort(reverse=True)
        lists.append(found(*rows))
    return lists


def box_iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def naive_fusion(lists: list[Detections], threshold: float) -> list[tuple[float, ...]]:
    """The paper's steps with plain lists; each cluster is averaged anew from all its boxes, one of a list at most."""
    everything = [
        (score, label, box, number)
        for number, one in enumerate(lists)
        for score, label, box in zip(one.scores.tolist(), one.labels.tolist(), one.boxes.tolist(), strict=True)
    ]
    clusters: list[list[tuple[float, int, list[float], int]]] = []
    fused: list[list[float]] = []
    for each in sorted(everything, key=lambda row: -row[0]):
        best, place = threshold, -1
        for number, cluster in enumerate(clusters):
            taken = each[3] in {source for *_, source in cluster}
            if not taken and cluster[0][1] == each[1] and box_iou(fused[number], each[2]) > best:
                best, place = box_iou(fused[number], each[2]), number
        if place < 0:
            clusters.append([each])
            fused.append(each[2])
        else:
            clusters[place].append(each)
            total = sum(score for score, *_ in clusters[place])
            fused[place] = [sum(s * box[side] for s, _, box, _ in clusters[place]) / total for side in range(4)]
    return sorted(
        (sum(s for s, *_ in cluster) / len(cluster) * min(len(cluster), len(lists)) / len(lists), cluster[0][1], *box)
        for cluster, box in zip(clusters, fused, strict=True)
    )


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_steps_of_the_paper(seed: int) -> None:
    lists = random_lists(seed)
    expected = naive_fusion(lists, 0.55)
    fused = fuse_detections(lists)
    assert len(expected) < sum(map(len, lists))  # some were fused
    assert (fused.scores[:-1] >= fused.scores[1:]).all()
    np.testing.assert_allclose(rows_of(fused), expected, rtol=1e-5, atol=1e-4)


def test_the_order_of_lists_and_of_equal_scores_plays_no_part() -> None:
    equal = [Detections(one.boxes, torch.full_like(one.scores, 0.5), one.labels, SIZE) for one in random_lists(3)]
    for lists in (random_lists(1), equal):
        expected = fuse_detections(lists)
        for order in itertools.permutations(range(3)):
            again = fuse_detections([lists[place][torch.randperm(len(lists[place]))] for place in order])
            assert torch.equal(again.boxes, expected.boxes)
            assert torch.equal(again.scores, expected.scores)
            assert torch.equal(again.labels, expected.labels)

"""The numbers of proposals: worked by hand, equal to plain loops, and defined where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from detection.data.records import DetectionData
from detection.evaluation.averages import mean_of_present
from detection.evaluation.class_boxes import pairwise_iou
from detection.evaluation.proposal_curves import (
    ALL,
    COUNTS,
    IOU_THRESHOLDS,
    average_best_overlap,
    average_recall,
    band_masks,
    best_of_first,
    recall_at,
)
from detection.evaluation.proposal_recall import proposal_recall
from detection.evaluation.proposal_summary import ImageCover, cover_image, missed_objects, summarize_covers
from proposals.structures import Proposals
from tests.evaluation.splits import SIZE_HW, Box, make_record, random_split

A, HALF_A = (0, 0, 10, 10), (0, 0, 10, 5)  # IoU 50 / 100
B, MOST_OF_B = (100, 0, 110, 10), (100, 0, 110, 6)  # IoU 60 / 100
NOWHERE = (200, 100, 210, 110)


def make_proposals(boxes: Sequence[Box]) -> Proposals:
    """Boxes, best first."""
    scores = torch.linspace(1, 0, len(boxes)) if boxes else torch.zeros(0)
    return Proposals(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), scores, SIZE_HW)


def overlaps_of(gt_boxes: Sequence[Box], proposals: Sequence[Box]) -> np.ndarray:
    return pairwise_iou(np.array(proposals, float).reshape(-1, 4), np.array(gt_boxes, float).reshape(-1, 4))


def test_best_overlap_grows_with_the_proposals_in_their_order() -> None:
    overlaps = overlaps_of([A, B], [NOWHERE, HALF_A, A, MOST_OF_B, HALF_A])
    assert best_of_first(overlaps, (1, 2, 3, 4, 5, 100, ALL)).tolist() == [
        [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 0.6, 0.6, 0.6, 0.6],
    ]
    assert best_of_first(overlaps[::-1], (1, 2, 3)).tolist() == [[0.5, 0.5, 1.0], [0.0, 0.6, 0.6]]


def test_best_overlap_of_nothing() -> None:
    assert best_of_first(overlaps_of([A, B], []), (1, ALL)).tolist() == [[0, 0], [0, 0]]
    assert best_of_first(overlaps_of([], [A]), (1, ALL)).shape == (0, 2)
    assert best_of_first(overlaps_of([], []), (1, ALL)).shape == (0, 2)
    with pytest.raises(ValueError, match="1 or more, got 0"):
        best_of_first(overlaps_of([A], [A]), (10, 0))


def test_recall_counts_an_overlap_equal_to_the_threshold() -> None:
    assert IOU_THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    best = np.array([0.6, 0.5, 1.0, 0.0])
    assert recall_at(best) == (0.75, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25)
    assert recall_at(best, (0.6, 0.61)) == (0.5, 0.25)
    assert recall_at(np.zeros(0), (0.5, 0.7)) == (None, None)


def test_average_recall() -> None:
    # 1.0 reaches all ten overlaps, 0.6 three, 0.5 one, 0 none.
    assert average_recall(np.array([1.0, 0.6, 0.5, 0.0])) == pytest.approx(14 / 40)
    assert average_recall(np.array([0.0])) == 0.0
    assert average_recall(np.zeros(0)) is None


def test_sizes_are_those_of_coco() -> None:
    masks = band_masks(np.array([1023.0, 1024.0, 1025.0, 9216.0, 9217.0]))
    assert {band: mask.tolist() for band, mask in masks.items()} == {
        "small": [True, True, False, False, False],
        "medium": [False, True, True, True, False],
        "large": [False, False, False, True, True],
    }


def test_abo_is_by_class_and_mabo_the_mean_of_the_classes_present() -> None:
    abo = average_best_overlap(np.array([0.5, 1.0, 0.25]), np.array([0, 0, 2]), 4)
    assert abo == (0.75, None, 0.25, None)
    assert mean_of_present(abo) == 0.5
    assert average_best_overlap(np.zeros(0), np.zeros(0, np.int64), 2) == (None, None)
    assert mean_of_present((None, None)) is None
    assert mean_of_present(()) is None


def two_images() -> list[ImageCover]:
    """Object A (cat) is half covered by the second box, the ignored one by nothing, B (dog) fully by the first."""
    first = make_record(1, [(A, 0), (NOWHERE, 1)], ignore=[False, True])
    second = make_record(2, [(B, 1)], area=[2000])
    third = make_record(3)
    priors = np.array([[-5.0, 0, 15, 10], B])  # over the edge of the image: IoU with A 100 / 200
    return [
        cover_image(first, make_proposals([B, HALF_A, HALF_A]), seconds=0.25, priors=priors),
        cover_image(second, make_proposals([B]), seconds=0.5, priors=priors),
        cover_image(third, make_proposals([]), seconds=3.0, priors=priors),
    ]


def test_a_split_worked_by_hand() -> None:
    evaluation = summarize_covers(two_images(), ("cat", "dog", "owl"), failures={"gone.jpg": "is gone"})
    with_all = evaluation.with_all
    assert (evaluation.num_images, evaluation.num_ignored) == (3, 1)
    assert evaluation.num_objects == {"all": 2, "small": 1, "medium": 1, "large": 0}
    assert with_all.boxes_per_image == pytest.approx(4 / 3)
    assert with_all.recall == (1.0, *[0.5] * 9)
    assert with_all.average_recall == {"all": pytest.approx(0.55), "small": 0.1, "medium": 1.0, "large": None}
    assert evaluation.abo == {"cat": 0.5, "dog": 1.0, "owl": None}
    assert with_all.mabo == 0.75
    assert evaluation.coverage == 1.0
    assert evaluation.by_count[10] == with_all
    assert (evaluation.mean_seconds, evaluation.median_seconds) == (1.25, 0.5)
    assert evaluation.priors is not None
    assert evaluation.priors.boxes_per_image == 2
    assert evaluation.priors.recall == (1.0, *[0.5] * 9)
    metrics = evaluation.to_metrics()
    assert metrics["coverage"] == {"recall": 1.0, "boxes_per_image": pytest.approx(4 / 3)}
    assert list(metrics["proposals"]) == ["10", "50", "100", "200", "300", "1000", "2000", "all"]
    assert list(metrics["proposals"]["all"]) == ["boxes_per_image", "recall", "AR", "ARs", "ARm", "ARl", "MABO"]
    assert metrics["proposals"]["all"]["recall"]["0.55"] == 0.5
    assert metrics["proposals"]["all"]["ARl"] is None
    assert metrics["failed_images"] == {"gone.jpg": "is gone"}


def test_the_order_of_the_proposals_matters() -> None:
    record = make_record(1, [(A, 0)])
    boxes = [NOWHERE] * 10 + [A]
    late, early = (
        summarize_covers([cover_image(record, make_proposals(order), seconds=0.0)], ("cat",))
        for order in (boxes, boxes[::-1])
    )
    assert (late.by_count[10].recall[0], late.by_count[50].recall[0]) == (0.0, 1.0)
    assert (late.by_count[10].boxes_per_image, late.by_count[50].boxes_per_image) == (10, 11)
    assert early.by_count[10].recall[0] == 1.0
    assert early.with_all == late.with_all


def test_one_proposal_covers_as_many_objects_as_it_overlaps() -> None:
    cover = cover_image(make_record(1, [(A, 0), (A, 0), (HALF_A, 0)]), make_proposals([A]), seconds=0.0)
    assert summarize_covers([cover], ("cat",)).coverage == 1.0


def test_missed_objects_and_what_lies_nearest() -> None:
    record = make_record(1, [(A, 0), (B, 0), (NOWHERE, 0), (A, 0)], ignore=[False, False, False, True])
    quarter_a, other_quarter = (0, 0, 5, 5), (5, 5, 10, 10)
    cover = cover_image(record, make_proposals([MOST_OF_B, quarter_a, other_quarter]), seconds=0.0)
    assert [place for _, place in missed_objects([cover])] == [0, 2]
    assert cover.nearest[:2].tolist() == [list(quarter_a), list(MOST_OF_B)]
    assert np.isnan(cover.nearest[2]).all()


@pytest.mark.parametrize(
    "covers",
    [
        lambda: [],
        lambda: [cover_image(make_record(1), make_proposals([A]), seconds=0.5)],
        lambda: [cover_image(make_record(1, [(A, 0)], ignore=[True]), make_proposals([]), seconds=0.5)],
    ],
)
def test_nothing_to_cover_gives_none(covers: Callable[[], list[ImageCover]]) -> None:
    evaluation = summarize_covers(covers(), ("cat",))
    for numbers in (evaluation.with_all, *evaluation.by_count.values()):
        assert set(numbers.recall) | set(numbers.average_recall.values()) | {numbers.mabo} == {None}
    assert evaluation.abo == {"cat": None}
    assert evaluation.priors is None
    assert (evaluation.mean_seconds is None) == (evaluation.num_images == 0)
    assert (evaluation.with_all.boxes_per_image is None) == (evaluation.num_images == 0)


def test_objects_without_proposals_are_missed() -> None:
    no_priors = np.zeros((0, 4))
    cover = cover_image(make_record(1, [(A, 0)]), make_proposals([]), seconds=0.0, priors=no_priors)
    evaluation = summarize_covers([cover], ("cat",))
    assert evaluation.with_all.recall == (0.0,) * 10
    assert evaluation.abo == {"cat": 0.0}
    assert evaluation.priors == evaluation.with_all


def plain_iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def plain_best(data: DetectionData, boxes: dict[int, list[Box]], count: int) -> list[tuple[int, float, float]]:
    """Label, area and best overlap of every object that counts, by two loops."""
    found = []
    for record in data.images:
        for box, label, area, ignore in zip(record.boxes, record.labels, record.area, record.ignore, strict=True):
            best = 0.0
            for proposal in boxes[record.image_id][:count]:
                best = max(best, plain_iou(box.tolist(), proposal))
            if not ignore:
                found.append((int(label), float(area), best))
    return found


def plain_recall(best: list[float], threshold: float) -> float | None:
    return sum(value >= threshold for value in best) / len(best) if best else None


def plain_ar(best: list[float]) -> float | None:
    return sum(plain_recall(best, t) or 0.0 for t in IOU_THRESHOLDS) / 10 if best else None


@pytest.mark.parametrize("seed", range(8))
def test_equal_to_two_plain_loops(seed: int) -> None:
    data, detections = random_split(seed, num_images=5)
    boxes: dict[int, list[Box]] = {record.image_id: [] for record in data.images}
    boxes |= {image_id: found.boxes.tolist() for image_id, found in detections.items()}
    covers = [cover_image(r, make_proposals(boxes[r.image_id]), seconds=0.0) for r in data.images]
    evaluation = summarize_covers(covers, data.class_names)
    for count, numbers in [*evaluation.by_count.items(), (ALL, evaluation.with_all)]:
        objects = plain_best(data, boxes, count)
        best = [value for _, _, value in objects]
        assert numbers.recall == pytest.approx([plain_recall(best, t) for t in IOU_THRESHOLDS])
        bands = {
            "all": best,
            "small": [value for _, area, value in objects if area <= 32**2],
            "medium": [value for _, area, value in objects if 32**2 <= area <= 96**2],
            "large": [value for _, area, value in objects if area >= 96**2],
        }
        assert numbers.average_recall == pytest.approx({band: plain_ar(values) for band, values in bands.items()})
        by_class = [[value for label, _, value in objects if label == c] for c in range(len(data.class_names))]
        abo = [sum(values) / len(values) if values else None for values in by_class]
        present = [value for value in abo if value is not None]
        assert numbers.mabo == pytest.approx(sum(present) / len(present) if present else None)
    assert list(evaluation.abo.values()) == pytest.approx(abo)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_recall_of_the_evaluation(seed: int) -> None:
    data, detections = random_split(seed)
    boxes = {
        r.image_id: detections[r.image_id].boxes if r.image_id in detections else torch.zeros(0, 4) for r in data.images
    }
    covers = [cover_image(r, make_proposals(boxes[r.image_id].tolist()), seconds=0.0) for r in data.images]
    ours = summarize_covers(covers, data.class_names)
    theirs = proposal_recall(
        [r.boxes for r in data.images],
        [boxes[r.image_id].numpy() for r in data.images],
        gt_ignore=[r.ignore for r in data.images],
        counts=COUNTS,
    )
    assert {f"recall@{count}": numbers.recall_of(0.5) for count, numbers in ours.by_count.items()} == theirs

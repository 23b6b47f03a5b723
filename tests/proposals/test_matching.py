"""Priors and objects against a plain loop, and the cases without one or the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from proposals.matching import BACKGROUND, IGNORED, match_priors
from proposals.priors import lay_priors
from tests.proposals.boxes import as_boxes, random_boxes

NUM_PRIORS = 80


def brute_force(
    priors: Tensor, gt_boxes: Tensor, gt_ignore: Tensor, *, positive_iou: float, min_matches: int
) -> Tensor:
    """The rule of ``match_priors`` prior by prior."""
    iou = box_iou(gt_boxes, priors)
    gt_index = []
    for prior in range(len(priors)):
        owner, owner_iou = BACKGROUND, 0.0
        for gt in range(len(gt_boxes)):
            overlap = iou[gt, prior].item()
            num_better = int((iou[gt] > overlap).sum())
            is_candidate = overlap > positive_iou or num_better < min_matches
            if not gt_ignore[gt] and is_candidate and overlap > owner_iou:
                owner, owner_iou = gt, overlap
        if owner == BACKGROUND and any(
            gt_ignore[gt] and share_inside(priors[prior], gt_boxes[gt]) > 0.5 for gt in range(len(gt_boxes))
        ):
            owner = IGNORED
        gt_index.append(owner)
    return torch.tensor(gt_index)


def share_inside(box: Tensor, region: Tensor) -> float:
    """Share of the box's area that lies in the region."""
    left, top, right, bottom = box.tolist()
    width = min(right, region[2].item()) - max(left, region[0].item())
    height = min(bottom, region[3].item()) - max(top, region[1].item())
    return max(width, 0.0) * max(height, 0.0) / ((right - left) * (bottom - top))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("positive_iou", "min_matches"), [(0.5, 4), (0.3, 1), (0.95, 6)])
def test_random_boxes_match_as_in_the_loop(seed: int, positive_iou: float, min_matches: int) -> None:
    # Large boxes: every object overlaps many priors, so that the best ones are distinct.
    priors, gt_boxes = (
        random_boxes(NUM_PRIORS, seed=seed, min_size=20.0),
        random_boxes(7, seed=99 + seed, min_size=20.0),
    )
    gt_ignore = torch.rand(7, generator=torch.Generator().manual_seed(seed)) < 0.3
    matches = match_priors(priors, gt_boxes, gt_ignore, positive_iou=positive_iou, min_matches=min_matches)
    expected = brute_force(priors, gt_boxes, gt_ignore, positive_iou=positive_iou, min_matches=min_matches)
    assert matches.tolist() == expected.tolist()


def test_the_loop_sees_every_kind_of_prior() -> None:
    """Or the comparison above would compare little."""
    kinds = set()
    for seed in range(6):
        gt_ignore = torch.rand(7, generator=torch.Generator().manual_seed(seed)) < 0.3
        priors, gt_boxes = (
            random_boxes(NUM_PRIORS, seed=seed, min_size=20.0),
            random_boxes(7, seed=99 + seed, min_size=20.0),
        )
        kinds |= set(match_priors(priors, gt_boxes, gt_ignore).tolist())
    assert kinds == {IGNORED, BACKGROUND, *range(7)}


def test_by_hand() -> None:
    """Object (0, 0, 10, 10), area 100.

    IoU with the priors: (0, 0, 10, 12): 100/120 = 5/6; (0, 0, 10, 20): 100/200 = 1/2; (5, 0, 15, 10): 50/150 = 1/3;
    (0, 0, 5, 5): 25/100 = 1/4; (50, 50, 60, 60): 0.
    """
    priors = as_boxes((0, 0, 10, 12), (0, 0, 10, 20), (5, 0, 15, 10), (0, 0, 5, 5), (50, 50, 60, 60))
    gt_boxes, none_ignored = as_boxes((0, 0, 10, 10)), torch.tensor([False])
    one = match_priors(priors, gt_boxes, none_ignored, positive_iou=0.5, min_matches=1)
    assert one.tolist() == [0, -1, -1, -1, -1]  # 1/2 does not exceed 0.5
    assert match_priors(priors, gt_boxes, none_ignored, positive_iou=0.3, min_matches=1).tolist() == [
        0,
        0,
        0,
        -1,
        -1,
    ]
    four = match_priors(priors, gt_boxes, none_ignored, positive_iou=0.9, min_matches=4)
    assert four.tolist() == [0, 0, 0, 0, -1]


def test_the_object_of_greater_overlap_wins() -> None:
    """Prior (0, 0, 10, 10): IoU 100/120 with the first object, 100/110 with the second."""
    gt_boxes = as_boxes((0, 0, 10, 12), (0, 0, 10, 11))
    matches = match_priors(as_boxes((0, 0, 10, 10)), gt_boxes, torch.tensor([False, False]))
    assert matches.tolist() == [1]


@pytest.mark.parametrize("seed", range(5))
def test_objects_of_any_shape_have_priors(seed: int) -> None:
    """On a grid, with one object in each quarter, among them thin and tiny ones."""
    priors = grid_priors()
    quarter = random_boxes(4, (32, 32), seed=seed, min_size=1.0)
    gt_boxes = quarter + as_boxes((0, 0, 0, 0), (32, 0, 32, 0), (0, 32, 0, 32), (32, 32, 32, 32))
    gt_boxes[0] = torch.tensor([3.0, 3.0, 29.0, 4.0])
    gt_boxes[3] = torch.tensor([50.0, 50.0, 51.0, 51.0])
    matches = match_priors(priors, gt_boxes, torch.zeros(4, dtype=torch.bool))
    assert set(matches.tolist()) == {BACKGROUND, 0, 1, 2, 3}
    assert (matches == 3).sum() == 4


def grid_priors() -> Tensor:
    """Squares of 16 and 40 pixels on a grid of stride 8 over 64 x 64: 128 priors."""
    return lay_priors(torch.tensor([[[16.0, 16.0], [40.0, 40.0]]]), strides=(8,), input_size_hw=(64, 64))


@pytest.mark.parametrize(
    "gt_boxes",
    [as_boxes((17, 17, 22, 22), (18, 18, 22, 22)), as_boxes((20, 20, 40, 44), (20, 20, 40, 44))],
    ids=["tiny neighbours", "the same box twice"],
)
def test_every_object_gets_a_prior_when_neighbours_compete(gt_boxes: Tensor) -> None:
    matches = match_priors(grid_priors(), gt_boxes, torch.zeros(2, dtype=torch.bool))
    assert set(matches.tolist()) == {BACKGROUND, 0, 1}


def test_who_lost_all_priors_gets_the_closest_that_can_be_spared() -> None:
    """The first of two equal objects takes the three priors that overlap; the second its best one that is left over.

    IoU with (0, 0, 10, 10): 100/100, 100/110, 100/120, and 0 far away, which is free but not closest.
    """
    priors = as_boxes((0, 0, 10, 10), (0, 0, 10, 11), (0, 0, 10, 12), (50, 50, 60, 60))
    twins = as_boxes((0, 0, 10, 10), (0, 0, 10, 10))
    matches = match_priors(priors, twins, torch.tensor([False, False]), min_matches=3)
    assert matches.tolist() == [1, 0, 0, -1]  # of the owner's three any can be spared, so the closest is taken


def test_nobody_is_robbed_of_the_last_prior() -> None:
    triplets = as_boxes(*[(0, 0, 10, 10)] * 3)
    priors = as_boxes((0, 0, 10, 10), (0, 0, 10, 11), (0, 0, 10, 12))
    none_ignored = torch.tensor([False] * 3)
    assert match_priors(priors, triplets, none_ignored, min_matches=3).tolist() == [1, 2, 0]
    # Two priors for three objects: the third goes without, and takes none from the others.
    assert match_priors(priors[:2], triplets, none_ignored, min_matches=3).tolist() == [1, 0]


def test_priors_in_an_ignored_region_are_neither() -> None:
    """Region (0, 0, 20, 20). Shares of the priors inside: 1, 0.6, 0.5 (does not exceed it), 0."""
    priors = as_boxes((2, 2, 8, 8), (14, 0, 24, 10), (15, 0, 25, 10), (40, 40, 50, 50))
    matches = match_priors(priors, as_boxes((0, 0, 20, 20)), torch.tensor([True]))
    assert matches.tolist() == [IGNORED, IGNORED, BACKGROUND, BACKGROUND]


def test_an_object_in_an_ignored_region_keeps_its_priors() -> None:
    """Indices count the ignored box too."""
    priors = as_boxes((2, 2, 8, 8), (10, 10, 16, 16), (40, 40, 50, 50))
    gt_boxes = as_boxes((0, 0, 20, 20), (2, 2, 8, 9))
    matches = match_priors(priors, gt_boxes, torch.tensor([True, False]), min_matches=1)
    assert matches.tolist() == [1, IGNORED, BACKGROUND]


def test_an_ignored_box_is_never_matched() -> None:
    boxes = random_boxes(20, seed=3)
    matches = match_priors(boxes, boxes[:5], torch.ones(5, dtype=torch.bool))
    assert matches[:5].tolist() == [IGNORED] * 5
    assert set(matches.tolist()) <= {IGNORED, BACKGROUND}


def test_without_objects_all_is_background() -> None:
    matches = match_priors(random_boxes(20), as_boxes(), torch.zeros(0, dtype=torch.bool))
    assert matches.tolist() == [BACKGROUND] * 20
    assert matches.dtype == torch.int64


def test_fewer_priors_than_matches() -> None:
    matches = match_priors(random_boxes(2, min_size=30), as_boxes((0, 0, 80, 60)), torch.tensor([False]), min_matches=4)
    assert matches.tolist() == [0, 0]


def test_no_priors() -> None:
    assert match_priors(as_boxes(), random_boxes(2), torch.tensor([False, True])).shape == (0,)


def test_an_object_that_no_prior_touches_gets_the_nearest() -> None:
    """Priors of 4 px at (2, 2), (10, 2), (18, 2), ... leave gaps of 4 px; the object of 1 px lies in one of them."""
    priors = lay_priors(torch.tensor([[[4.0, 4.0]]]), strides=(8,), input_size_hw=(64, 64))
    gt_boxes = as_boxes((39, 39, 40, 40))
    matches = match_priors(priors, gt_boxes, torch.tensor([False]), min_matches=4)
    centres = (priors[matches == 0, :2] + priors[matches == 0, 2:]) / 2
    # The gap's corner lies between the cells with centres at 36 and 44.
    assert sorted(map(tuple, centres.tolist())) == [(36.0, 36.0), (36.0, 44.0), (44.0, 36.0), (44.0, 44.0)]

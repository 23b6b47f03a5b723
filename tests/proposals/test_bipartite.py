"""The exact assignment against all assignments there are, and what becomes of ignored regions."""

from __future__ import annotations

from itertools import permutations
from math import exp, inf, log1p, nan

import pytest
import torch
from torch import Tensor

from proposals.bipartite import match_bipartite, matching_cost, solve_assignment
from proposals.global_coder import CORNER_SPREAD
from proposals.matching import BACKGROUND, IGNORED
from tests.proposals.boxes import as_boxes

ALPHA = 0.3
NO_OBJECTS = torch.zeros(0, dtype=torch.bool)


def none_ignored(num_objects: int) -> Tensor:
    return torch.zeros(num_objects, dtype=torch.bool)


def squared_distance(box: Tensor, gt_box: Tensor) -> float:
    """In units of the spread."""
    return sum(((a - b) / CORNER_SPREAD) ** 2 for a, b in zip(box.tolist(), gt_box.tolist(), strict=True))


def total_loss(boxes: Tensor, logits: Tensor, gt_boxes: Tensor, owners: list[int]) -> float:
    """F of the paper for one image, term by term; owners as ``match_bipartite`` gives them."""
    loss = 0.0
    for box, logit, owner in zip(boxes, logits.tolist(), owners, strict=True):
        confidence = 1 / (1 + exp(-logit))
        if owner == BACKGROUND:
            loss -= log1p(-confidence)
        else:
            loss += ALPHA / 2 * squared_distance(box, gt_boxes[owner]) - log1p(confidence - 1)
    return loss


def all_assignments(num_priors: int, num_objects: int) -> list[list[int]]:
    """Every way to give each object a prior of its own, or each prior an object where there are more objects."""
    if num_objects > num_priors:
        return [list(owners) for owners in permutations(range(num_objects), num_priors)]
    ways = []
    for chosen in permutations(range(num_priors), num_objects):
        owners = [BACKGROUND] * num_priors
        for gt, prior in enumerate(chosen):
            owners[prior] = gt
        ways.append(owners)
    return ways


def random_case(num_priors: int, num_objects: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, logits, objects: close enough that distances and logits both matter."""
    generator = torch.Generator().manual_seed(100 * seed + 10 * num_priors + num_objects)
    centre = torch.tensor([0.3, 0.3, 0.7, 0.7])
    boxes = centre + 0.03 * torch.randn(num_priors, 4, generator=generator)
    gt_boxes = centre + 0.03 * torch.randn(num_objects, 4, generator=generator)
    return boxes, 2 * torch.randn(num_priors, generator=generator), gt_boxes


SIZES = [(1, 1), (2, 2), (4, 1), (4, 3), (5, 5), (6, 2), (6, 4), (1, 3), (2, 5), (4, 6), (3, 0)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("num_priors", "num_objects"), SIZES)
def test_no_assignment_is_better(num_priors: int, num_objects: int, seed: int) -> None:
    boxes, logits, gt_boxes = random_case(num_priors, num_objects, seed)
    owners = match_bipartite(boxes, logits, gt_boxes, none_ignored(num_objects), alpha=ALPHA).tolist()
    best = min(all_assignments(num_priors, num_objects), key=lambda way: total_loss(boxes, logits, gt_boxes, way))
    assert owners == best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("num_priors", "num_objects"), SIZES)
def test_no_assignment_of_priors_is_nearer(num_priors: int, num_objects: int, seed: int) -> None:
    boxes, logits, gt_boxes = random_case(num_priors, num_objects, seed)
    priors = random_case(num_priors, num_objects, seed + 50)[0]

    def distance(owners: list[int]) -> float:
        pairs = zip(priors, owners, strict=True)
        return sum(squared_distance(prior, gt_boxes[owner]) for prior, owner in pairs if owner != BACKGROUND)

    ignored = none_ignored(num_objects)
    owners = match_bipartite(boxes, logits, gt_boxes, ignored, alpha=ALPHA, priors_norm=priors).tolist()
    assert owners == min(all_assignments(num_priors, num_objects), key=distance)


@pytest.mark.parametrize("use_priors", [False, True])
@pytest.mark.parametrize(("num_priors", "num_objects"), [(5, 3), (4, 4), (2, 4)])
def test_ties_are_as_good_as_the_best(num_priors: int, num_objects: int, use_priors: bool) -> None:
    """Equal boxes, equal logits and two equal objects: many assignments are best, and one of them comes out."""
    boxes, logits, gt_boxes = random_case(num_priors, num_objects, 0)
    boxes[1], logits[:] = boxes[0], 0.5
    gt_boxes[1] = gt_boxes[0]
    priors = boxes if use_priors else None
    ignored = none_ignored(num_objects)
    owners = match_bipartite(boxes, logits, gt_boxes, ignored, alpha=ALPHA, priors_norm=priors).tolist()
    ways = all_assignments(num_priors, num_objects)
    assert owners in ways
    best = min(total_loss(boxes, logits, gt_boxes, way) for way in ways)
    assert total_loss(boxes, logits, gt_boxes, owners) == pytest.approx(best, rel=1e-12)


def test_cost_by_hand() -> None:
    """Box 0 is off by 2 units at one edge: 0.3 / 2 * 4 = 0.6; its log odds are 1.5. Box 1 fits; its log odds are -1."""
    boxes, gt_boxes = as_boxes((0.02, 0, 0.5, 0.5), (0, 0, 0.5, 0.5)), as_boxes((0, 0, 0.5, 0.5))
    cost = matching_cost(boxes, torch.tensor([1.5, -1.0]), gt_boxes, alpha=ALPHA)
    torch.testing.assert_close(cost, torch.tensor([[0.6 - 1.5], [1.0]]))


@pytest.mark.parametrize(("lead", "expected"), [(0.5, [BACKGROUND, 0]), (0.7, [0, BACKGROUND])])
def test_confidence_weighs_against_distance(lead: float, expected: list[int]) -> None:
    """Two units at one edge cost 0.6: a lead of 0.5 in log odds is too little, one of 0.7 enough."""
    boxes, gt_boxes = as_boxes((0.02, 0, 0.5, 0.5), (0, 0, 0.5, 0.5)), as_boxes((0, 0, 0.5, 0.5))
    owners = match_bipartite(boxes, torch.tensor([lead, 0.0]), gt_boxes, none_ignored(1), alpha=ALPHA)
    assert owners.tolist() == expected


def test_nearest_first_is_not_enough() -> None:
    """Left edges: boxes 0 and 4 units, objects 3 and 5 units.

    Nearest first: 4 - 3 and then 0 - 5: 1 + 25. Best: 0 - 3 and 4 - 5: 9 + 1.
    """
    boxes, gt_boxes = as_boxes((0, 0, 1, 1), (0.04, 0, 1, 1)), as_boxes((0.05, 0, 1, 1), (0.03, 0, 1, 1))
    assert match_bipartite(boxes, torch.zeros(2), gt_boxes, none_ignored(2), alpha=ALPHA).tolist() == [1, 0]


def test_prior_matching_does_not_ask_the_predictions() -> None:
    priors = as_boxes((0, 0, 0.3, 0.3), (0.6, 0.6, 1, 1), (0, 0, 1, 1))
    boxes, logits = priors.flip(0), torch.tensor([-5.0, 5.0, 9.0])
    gt_boxes = as_boxes((0.6, 0.6, 0.9, 1), (0, 0, 0.3, 0.2))
    owners = match_bipartite(boxes, logits, gt_boxes, none_ignored(2), alpha=ALPHA, priors_norm=priors)
    assert owners.tolist() == [1, 0, BACKGROUND]
    assert match_bipartite(boxes, logits, gt_boxes, none_ignored(2), alpha=ALPHA).tolist() == [BACKGROUND, 0, 1]


@pytest.mark.parametrize("use_priors", [False, True])
def test_predictions_in_an_ignored_region_are_neither(use_priors: bool) -> None:
    """Region (0, 0, 0.25, 0.25). Shares of the predictions inside: 1, 0.6, 0.5 (does not exceed it), 0.

    Where their priors lie does not matter.
    """
    boxes = as_boxes((0.02, 0.02, 0.08, 0.08), (0.19, 0, 0.29, 0.1), (0.125, 0, 0.375, 0.125), (0.4, 0.4, 0.5, 0.5))
    priors = boxes.flip(0) if use_priors else None
    region = as_boxes((0, 0, 0.25, 0.25))
    owners = match_bipartite(boxes, torch.zeros(4), region, torch.tensor([True]), alpha=ALPHA, priors_norm=priors)
    assert owners.tolist() == [IGNORED, IGNORED, BACKGROUND, BACKGROUND]


def test_an_object_in_an_ignored_region_keeps_its_prior() -> None:
    """Indices count the ignored box too; the object is at row 1."""
    boxes = as_boxes((0.02, 0.02, 0.08, 0.08), (0.1, 0.1, 0.16, 0.16), (0.4, 0.4, 0.5, 0.5))
    gt_boxes = as_boxes((0, 0, 0.2, 0.2), (0.02, 0.02, 0.08, 0.09))
    owners = match_bipartite(boxes, torch.zeros(3), gt_boxes, torch.tensor([True, False]), alpha=ALPHA)
    assert owners.tolist() == [1, IGNORED, BACKGROUND]


def test_a_box_turned_inside_out_is_never_ignored() -> None:
    """Corners are predicted one by one and may cross; such a box holds nothing."""
    boxes = as_boxes((0.1, 0.1, 0.05, 0.05), (0.1, 0.05, 0.05, 0.1))
    owners = match_bipartite(boxes, torch.zeros(2), as_boxes((0, 0, 1, 1)), torch.tensor([True]), alpha=ALPHA)
    assert owners.tolist() == [BACKGROUND, BACKGROUND]


def test_without_objects_all_is_background() -> None:
    boxes, logits, _ = random_case(5, 0, 0)
    for priors in (None, boxes):
        owners = match_bipartite(boxes, logits, as_boxes(), NO_OBJECTS, alpha=ALPHA, priors_norm=priors)
        assert owners.tolist() == [BACKGROUND] * 5
        assert owners.dtype == torch.int64


def test_no_priors() -> None:
    owners = match_bipartite(as_boxes(), torch.zeros(0), as_boxes((0, 0, 1, 1)), none_ignored(1), alpha=ALPHA)
    assert owners.shape == (0,)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_diverged_network_is_not_the_solvers_affair(bad: float) -> None:
    boxes, logits, gt_boxes = random_case(4, 2, 0)
    logits[0] = boxes[1, 0] = bad
    owners = match_bipartite(boxes, logits, gt_boxes, none_ignored(2), alpha=ALPHA).tolist()
    assert sorted(owners) == [BACKGROUND, BACKGROUND, 0, 1]


def test_confidences_of_nought_and_one_have_finite_costs() -> None:
    """The logarithms of the paper's formula would not be."""
    cost = matching_cost(as_boxes((0, 0, 1, 1)), torch.tensor([1000.0]), as_boxes((0, 0, 1, 1)), alpha=ALPHA)
    assert cost.item() == -1000


def test_no_gradient_passes() -> None:
    boxes, logits, gt_boxes = random_case(4, 2, 0)
    owners = match_bipartite(boxes.requires_grad_(), logits.requires_grad_(), gt_boxes, none_ignored(2), alpha=ALPHA)
    assert not owners.requires_grad
    rows, columns = solve_assignment(matching_cost(boxes, logits, gt_boxes, alpha=ALPHA))
    assert owners[rows].tolist() == columns.tolist()

"""Arithmetic of boxes against torchvision and by hand."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from proposals.box_ops import clip, coverage, enlarge, is_valid, paired_giou, paired_iou
from tests.proposals.boxes import as_boxes, random_boxes

# Against (0, 0, 10, 10): itself, inside, around, crossing, touching at an edge, at a corner, far away.
PLACES = as_boxes(
    (0, 0, 10, 10), (2, 3, 7, 5), (-5, -5, 20, 30), (5, 5, 15, 12), (10, 0, 20, 10), (10, 10, 20, 20), (50, 70, 60, 90)
)


@pytest.fixture(params=["random", "places"])
def pairs(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    if request.param == "places":
        return PLACES[:1].expand_as(PLACES), PLACES
    return random_boxes(200, seed=1), random_boxes(200, seed=2)


def test_paired_iou_is_the_diagonal_of_torchvision(pairs: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(paired_iou(*pairs), box_iou(*pairs).diagonal(), rtol=1e-5, atol=1e-6)


def test_paired_giou_is_the_diagonal_of_torchvision(pairs: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(paired_giou(*pairs), generalized_box_iou(*pairs).diagonal(), rtol=1e-5, atol=1e-6)


def test_paired_overlaps_by_hand() -> None:
    """Intersection 5*5 = 25, union 100 + 100 - 25 = 175, hull 15*15 = 225."""
    a, b = as_boxes((0, 0, 10, 10)), as_boxes((5, 5, 15, 15))
    assert paired_iou(a, b).item() == pytest.approx(25 / 175)
    assert paired_giou(a, b).item() == pytest.approx(25 / 175 - 50 / 225)


def test_paired_overlaps_take_any_leading_shape() -> None:
    a, b = random_boxes(6, seed=1), random_boxes(6, seed=2)
    for overlap in (paired_iou, paired_giou):
        assert torch.equal(overlap(a.reshape(2, 3, 4), b.reshape(2, 3, 4)).flatten(), overlap(a, b))


def test_giou_pulls_boxes_that_do_not_touch() -> None:
    box = as_boxes((0, 0, 10, 10)).requires_grad_()
    paired_giou(box, as_boxes((30, 0, 40, 10))).sum().backward()
    assert box.grad is not None
    # Apart, giou = union / hull - 1 with union = 10 (x2 - x1) + 100 = 200 and hull = 10 (40 - x1) = 400.
    # d/dx2 = 10 / 400: the right edge goes towards the other box. d/dx1 = (-10 * 400 + 10 * 200) / 400^2.
    assert box.grad[0, 2].item() == pytest.approx(10 / 400)
    assert box.grad[0, 0].item() == pytest.approx(-2000 / 400**2)


def test_overlaps_of_empty_boxes_are_zero_and_have_finite_gradients() -> None:
    point = as_boxes((5, 5, 5, 5)).requires_grad_()
    iou, giou = paired_iou(point, point), paired_giou(point, point)
    assert (iou.item(), giou.item()) == (0.0, 0.0)
    (iou + giou).sum().backward()
    assert point.grad is not None
    assert point.grad.isfinite().all()


def test_clip_moves_edges_into_the_image() -> None:
    boxes = as_boxes((-3, -4, 90, 70), (1, 2, 3, 4), (79, 59, 81, 61), (-9, -9, -1, -1), (85, 65, 90, 70))
    expected = as_boxes((0, 0, 80, 60), (1, 2, 3, 4), (79, 59, 80, 60), (0, 0, 0, 0), (80, 60, 80, 60))
    assert torch.equal(clip(boxes, (60, 80)), expected)
    assert not is_valid(clip(boxes[3:], (60, 80))).any()  # outside: empty
    assert boxes[0, 0] == -3  # not in place


def test_clip_passes_the_gradient_of_edges_inside() -> None:
    boxes = as_boxes((-3, 5, 90, 20)).requires_grad_()
    clip(boxes, (60, 80)).sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.tolist() == [[0, 1, 0, 1]]


def test_coverage_by_hand() -> None:
    """Box 10x10 = 100. Quarter: 5*5 / 100; half: 10*5 / 100; region around it: 1; region inside it: 2*3 / 100."""
    boxes = as_boxes((0, 0, 10, 10), (40, 40, 44, 44))
    regions = as_boxes((5, 5, 20, 20), (-5, 5, 30, 50), (-1, -1, 50, 50), (2, 2, 4, 5), (10, 0, 20, 10))
    # Box 2, 4x4 = 16: nothing; region 2 ends at x = 30; region 3 has it all.
    expected = torch.tensor([[0.25, 0.5, 1.0, 0.06, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(coverage(boxes, regions), expected)


def test_coverage_of_and_by_empty_boxes_is_zero() -> None:
    empty, region = as_boxes((5, 5, 5, 9), (7, 7, 6, 9)), as_boxes((0, 0, 10, 10))
    assert coverage(empty, region).tolist() == [[0.0], [0.0]]
    assert coverage(region, empty).tolist() == [[0.0, 0.0]]


def test_enlarge_keeps_the_centre() -> None:
    boxes = as_boxes((10, 20, 14, 28), (0, 0, 2, 2))
    assert torch.equal(enlarge(boxes, 1.5), as_boxes((9, 18, 15, 30), (-0.5, -0.5, 2.5, 2.5)))
    assert torch.equal(enlarge(boxes, 1.0), boxes)
    assert torch.equal(enlarge(boxes.reshape(2, 1, 4), 2.0).reshape(2, 4), as_boxes((8, 16, 16, 32), (-1, -1, 3, 3)))


@pytest.mark.parametrize(
    ("box", "min_size", "expected"),
    [
        ((0, 0, 1, 1), 0.0, True),
        ((0, 0, 1, 1), 1.0, False),  # must exceed, not reach
        ((0, 0, 1.5, 1.5), 1.0, True),
        ((0, 0, 1.5, 0.5), 1.0, False),
        ((0, 0, 0.5, 1.5), 1.0, False),
        ((5, 5, 5, 9), 0.0, False),
        ((5, 5, 4, 9), 0.0, False),
        ((nan, 0, 9, 9), 0.0, False),
        ((0, nan, 9, 9), 0.0, False),
        ((0, 0, nan, 9), 0.0, False),
        ((0, 0, 9, nan), 0.0, False),
        ((inf, 0, inf, 9), 0.0, False),
    ],
)
def test_is_valid(box: tuple[float, float, float, float], min_size: float, expected: bool) -> None:
    assert is_valid(as_boxes(box, (0, 0, 9, 9)), min_size).tolist() == [expected, True]


def test_no_boxes_give_no_rows() -> None:
    none, some = as_boxes(), random_boxes(3)
    assert paired_iou(none, none).shape == paired_giou(none, none).shape == (0,)
    assert clip(none, (60, 80)).shape == enlarge(none, 2.0).shape == (0, 4)
    assert is_valid(none).shape == (0,)
    assert is_valid(none).dtype == torch.bool
    assert coverage(none, some).shape == (0, 3)
    assert coverage(some, none).shape == (3, 0)

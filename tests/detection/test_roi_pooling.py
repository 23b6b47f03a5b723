"""RoIAlign, by matrix products and by sums of cells, against torchvision's kernel."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from detection.roi_pooling import assign_levels, pool_at_once, pool_map, pool_rois


def random_rois(count: int, low: float, high: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = low + torch.rand(count, 2, 2, generator=generator) * (high - low)
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("pool_size", [1, 5, 7])
def test_equals_torchvision_inside_and_outside_the_image(pool_size: int, learns: bool) -> None:
    features = torch.randn(6, 9, 13, generator=torch.Generator().manual_seed(1)).requires_grad_(learns)
    boxes = random_rois(40, -40.0, 150.0)
    rois = torch.cat([torch.zeros(40, 1), boxes], dim=1)
    expected = roi_align(features[None], rois, pool_size, 1 / 8, sampling_ratio=2, aligned=True)
    pooled = pool_map(features, boxes, stride=8, pool_size=pool_size).permute(0, 3, 1, 2)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)


def test_gradient_equals_torchvision() -> None:
    features = torch.randn(4, 8, 8, requires_grad=True)
    boxes = random_rois(10, 0.0, 64.0)
    rois = torch.cat([torch.zeros(10, 1), boxes], dim=1)
    weight = torch.randn(10, 4, 7, 7)
    ours = (pool_map(features, boxes, stride=8, pool_size=7).permute(0, 3, 1, 2) * weight).sum()
    theirs = (roi_align(features[None], rois, 7, 1 / 8, sampling_ratio=2, aligned=True) * weight).sum()
    expected = torch.autograd.grad(theirs, features)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, features)[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("learns", [True, False])
def test_in_bfloat16_both_ways_stay_near_float32(learns: bool) -> None:
    features = torch.randn(6, 9, 13, generator=torch.Generator().manual_seed(1))
    boxes = random_rois(40, -40.0, 150.0)
    half = features.bfloat16().requires_grad_(learns)
    expected = pool_map(half.detach().float(), boxes, stride=8, pool_size=7)
    pooled = pool_map(half, boxes, stride=8, pool_size=7)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.detach().float(), expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("learns", [True, False])
def test_a_map_of_one_cell(learns: bool) -> None:
    pooled = pool_map(
        torch.full((2, 1, 1), 3.0).requires_grad_(learns),
        torch.tensor([[0.0, 0.0, 32.0, 32.0]]),
        stride=32,
        pool_size=7,
    )
    torch.testing.assert_close(pooled, torch.full((1, 7, 7, 2), 3.0))


def test_levels_by_size() -> None:
    # Thresholds are 28 cells: 224 px at stride 8, 448 px at stride 16.
    sides = torch.tensor([10.0, 224.0, 225.0, 448.0, 449.0, 2000.0])
    boxes = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], dim=1)
    assert assign_levels(boxes, (8, 16, 32)).tolist() == [0, 0, 1, 1, 2, 2]


def test_order_is_kept_over_images_and_levels() -> None:
    pyramid = [torch.full((2, 1, 64 // s, 64 // s), float(s)) for s in (1, 2, 4)]
    for features in pyramid:
        features[1] += 100  # the second image is told apart by its values
    small, large = [0.0, 0.0, 50.0, 50.0], [0.0, 0.0, 500.0, 500.0]
    boxes = [torch.tensor([large, small]), torch.tensor([small, large, small])]
    pooled = pool_rois(pyramid, boxes, strides=(8, 16, 32), pool_size=1)
    assert pooled.flatten().tolist() == [4.0, 1.0, 101.0, 104.0, 101.0]


def test_all_images_and_levels_at_once_equal_torchvision() -> None:
    generator = torch.Generator().manual_seed(2)
    shapes, strides = [(18, 26), (9, 13), (5, 7), (1, 1)], (4, 8, 16, 64)
    pyramid = [torch.randn(3, 6, *shape, generator=generator).requires_grad_() for shape in shapes]
    boxes = [random_rois(count, -40.0, 300.0, seed) for seed, count in enumerate((30, 0, 25))]
    boxes[0][0], boxes[2][3] = torch.tensor([0.0, 0.0, 9.0, 9.0]), torch.tensor([-5000.0, 0.0, 5000.0, 90.0])
    weight = torch.randn(55, 6, 7, 7, generator=generator)
    rows = torch.cat([torch.full((len(each), 1), float(image)) for image, each in enumerate(boxes)])
    rois, levels = torch.cat([rows, torch.cat(boxes)], dim=1), assign_levels(torch.cat(boxes), strides)
    assert set(levels.tolist()) == {0, 1, 2, 3}
    expected = torch.zeros(55, 6, 7, 7)
    for level, (features, stride) in enumerate(zip(pyramid, strides, strict=True)):
        here = (levels == level).nonzero().squeeze(1)
        aligned = roi_align(features, rois[here], 7, 1 / stride, sampling_ratio=2, aligned=True)
        expected = expected.index_put((here,), aligned)
    pooled = pool_at_once(pyramid, boxes, strides=strides, pool_size=7).permute(0, 3, 1, 2)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)
    gradients = torch.autograd.grad((pooled * weight).sum(), pyramid)
    for ours, theirs in zip(gradients, torch.autograd.grad((expected * weight).sum(), pyramid), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("rois", "rows"), [(0, 0), (1, 4), (3, 4), (4, 4), (5, 8)])
def test_filled_up_with_zeros_behind_the_others(rois: int, rows: int) -> None:
    pyramid = [torch.rand(1, 3, 16 // s, 16 // s) for s in (1, 2, 4)]
    boxes = torch.tensor([[0.0, 0.0, 500.0, 500.0], [8.0, 8.0, 50.0, 60.0]]).repeat(3, 1)[:rois]
    plain = pool_rois(pyramid, [boxes], strides=(8, 16, 32), pool_size=2)
    filled = pool_rois(pyramid, [boxes], strides=(8, 16, 32), pool_size=2, filled_to=4)
    assert filled.shape == (rows, 3, 2, 2)
    assert torch.equal(filled[:rois], plain)
    assert not filled[rois:].any()


def test_no_rois() -> None:
    pyramid = [torch.zeros(2, 5, 8 // s, 8 // s) for s in (1, 2, 4)]
    pooled = pool_rois(pyramid, [torch.zeros(0, 4), torch.zeros(0, 4)], strides=(8, 16, 32), pool_size=7)
    assert pooled.shape == (0, 5, 7, 7)

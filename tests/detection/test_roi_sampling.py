"""Which regions the classifier learns from."""

from __future__ import annotations

import pytest
import torch

from detection.roi_sampling import RoiSamplingSettings, jitter, sample_rois
from detection.structures import Target
from proposals.box_ops import box_iou, coverage
from proposals.structures import Proposals
from tests.detection.tiny import target_of


def grid_proposals(side: float = 16.0) -> Proposals:
    starts = torch.arange(0, 96 - side + 1, 8.0)
    corners = torch.cartesian_prod(starts, starts)
    boxes = torch.cat([corners, corners + side], dim=1)
    return Proposals(boxes, torch.linspace(1, 0, len(boxes)), (96, 96))


def draw(target: Target, *, num_rois: int = 20, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rois = sample_rois(
        grid_proposals(),
        target,
        num_classes=3,
        settings=RoiSamplingSettings(num_rois, foreground_fraction=0.5, foreground_iou=0.5),
        generator=torch.Generator().manual_seed(seed),
    )
    return rois.boxes, rois.labels, rois.gt_boxes


def test_foreground_has_the_label_and_box_of_its_object() -> None:
    target = target_of([[10, 10, 30, 30], [50, 50, 66, 66]], [2, 0])
    boxes, labels, gt_boxes = draw(target, num_rois=40)
    iou, index = box_iou(boxes, target.boxes).max(dim=1)
    foreground = labels < 3
    assert torch.equal(foreground, iou >= 0.5)
    assert torch.equal(labels[foreground], target.labels[index[foreground]])
    assert torch.equal(gt_boxes[foreground], target.boxes[index[foreground]])
    assert set(labels[foreground].tolist()) == {0, 2}


def test_quota() -> None:
    target = target_of([[x, 10, x + 16, 26] for x in range(0, 80, 4)], [1] * 20)
    _, labels, _ = draw(target, num_rois=20)
    assert (labels < 3).sum() == 10
    assert len(labels) == 20


def test_however_small_the_share_one_object_is_learnt_from() -> None:
    rois = sample_rois(
        grid_proposals(),
        target_of([[10, 10, 30, 30]], [1]),
        num_classes=3,
        settings=RoiSamplingSettings(8, foreground_fraction=0.1, foreground_iou=0.5),
        generator=torch.Generator().manual_seed(0),
    )
    assert rois.labels.tolist() == [1, *[3] * 7]


def test_no_objects_give_background_only() -> None:
    boxes, labels, _ = draw(target_of([], []))
    assert len(boxes) == 20
    assert labels.tolist() == [3] * 20


def test_ignored_objects_are_neither_foreground_nor_background() -> None:
    target = target_of([[0, 0, 48, 96], [60, 60, 76, 76]], [0, 1], [True, False])
    boxes, labels, _ = draw(target, num_rois=200)
    assert 0 not in labels.tolist()
    background = boxes[labels == 3]
    assert len(background) > 0
    assert coverage(background, target.boxes[:1]).max() <= 0.5


def test_no_proposals_still_gives_the_objects() -> None:
    rois = sample_rois(
        Proposals(torch.zeros(0, 4), torch.zeros(0), (96, 96)),
        target_of([[10, 10, 30, 30]], [1]),
        num_classes=3,
        settings=RoiSamplingSettings(8, foreground_fraction=0.5, foreground_iou=0.5),
        generator=torch.Generator().manual_seed(0),
    )
    assert rois.labels.tolist()[0] == 1


@pytest.mark.parametrize("seed", range(5))
def test_jitter_stays_near_and_inside(seed: int) -> None:
    boxes = torch.tensor([[0.0, 0.0, 20.0, 40.0], [80.0, 80.0, 96.0, 96.0]])
    moved = jitter(boxes, (96, 96), amount=0.2, generator=torch.Generator().manual_seed(seed))
    assert (moved >= 0).all()
    assert (moved <= 96).all()
    assert ((moved - boxes).abs() <= 0.2 * torch.tensor([[20.0, 40, 20, 40], [16, 16, 16, 16]]) + 1e-4).all()
    assert not torch.equal(moved, boxes)

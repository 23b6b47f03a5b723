"""What holds for everything that the proposal stage hands on."""

from __future__ import annotations

import torch

from proposals.structures import Proposals


def assert_valid_proposals(proposals: Proposals) -> None:
    """Boxes inside the image and not empty, scores in [0, 1] and descending, float32 both, no gradient."""
    height, width = proposals.image_size_hw
    boxes, scores = proposals.boxes, proposals.scores
    assert boxes.shape == (len(proposals), 4)
    assert scores.shape == (len(proposals),)
    assert (boxes.dtype, scores.dtype) == (torch.float32, torch.float32)
    assert not boxes.requires_grad
    assert not scores.requires_grad
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
    assert (boxes[:, 2:] - boxes[:, :2] > 1).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores.diff() <= 0).all()

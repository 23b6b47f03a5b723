"""Answers of MultiBox and assignments for the tests of its losses."""

from __future__ import annotations

import torch
from torch import Tensor

from proposals.multibox_loss import MultiBoxLosses
from proposals.structures import MultiBoxOutput


def make_matches(*gt_index: int) -> Tensor:
    """An assignment."""
    return torch.tensor(gt_index)


def make_output(*logits: float) -> MultiBoxOutput:
    """One image; every prior answers with itself."""
    return MultiBoxOutput(
        torch.tensor([logits], requires_grad=True), torch.zeros(1, len(logits), 4, requires_grad=True)
    )


def gradients(output: MultiBoxOutput, losses: MultiBoxLosses) -> tuple[Tensor, Tensor]:
    """Of the sum of both losses by logits and offsets; both finite."""
    logits, offsets = torch.autograd.grad(losses.localization + losses.confidence, tuple(output))
    assert logits.isfinite().all()
    assert offsets.isfinite().all()
    return logits, offsets

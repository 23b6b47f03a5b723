"""Boxes as offsets from reference boxes (priors or proposals), and back. Legend: N boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_LOG_RATIO = math.log(1000.0 / 16)
"""Offsets may enlarge a reference box at most this much (16 px to 1000 px): keeps exp() finite."""


def _centre_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def encode(boxes: Tensor, references: Tensor) -> Tensor:
    """Expresses boxes as offsets from reference boxes.

    Offsets are ((centre - reference centre) / reference size, log(size / reference size)).
    Deviation: MultiBox (1312.2249) regresses corners as plain residuals of priors; dividing by the prior's size makes
    the error of a small and of a large object weigh the same (R-CNN, 1311.2524, appendix C).

    Args:
        boxes: (..., 4) float32 xyxy with positive width and height.
        references: (..., 4) float32 xyxy with positive width and height; row i belongs to box i.

    Returns:
        (..., 4) float32 offsets. No boxes give no offsets. Differentiable.
    """
    centre, size = _centre_size(boxes)
    reference_centre, reference_size = _centre_size(references)
    return torch.cat([(centre - reference_centre) / reference_size, torch.log(size / reference_size)], dim=-1)


def decode(offsets: Tensor, references: Tensor) -> Tensor:
    """Inverse of ``encode``: (..., 4) offsets and (..., 4) reference boxes -> (..., 4) xyxy boxes.

    Growth is limited by ``MAX_LOG_RATIO``; boxes may leave the image. Differentiable.
    """
    reference_centre, reference_size = _centre_size(references)
    centre = reference_centre + offsets[..., :2] * reference_size
    half = torch.exp(offsets[..., 2:].clamp(max=MAX_LOG_RATIO)) * (reference_size / 2)
    return torch.cat([centre - half, centre + half], dim=-1)

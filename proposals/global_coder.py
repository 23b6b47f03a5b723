"""Boxes as corner residuals from global priors, and back. Legend: B images, K priors.

``*_norm`` boxes are xyxy in units of the image: x by its width, y by its height, 0 to 1. The image is meant, not the
padded input: its priors, offsets and losses are then the same in every batch, however much its neighbours pad it, and
the training boxes can be clustered without knowing the batches.
"""

from __future__ import annotations

from torch import Tensor

CORNER_SPREAD = 0.01
"""One unit of offset, in units of the image: the spread of the released MultiBox network (google/multibox).

Offsets of matched priors are then a few units large, and squared distances weigh like the log odds beside them: an
error of 2 % of the image at each edge costs 0.3 / 2 * 4 * 2^2 = 2.4, as much as a confidence of 9 %. In units of the
image it would cost 0.0002, and alpha = 0.3 would leave the boxes almost untrained.
"""


def normalize(boxes: Tensor, image_size_hw: tuple[int, int]) -> Tensor:
    """(..., 4) xyxy pixels -> units of the image. Differentiable."""
    height, width = image_size_hw
    return boxes / boxes.new_tensor([width, height, width, height])


def denormalize(boxes_norm: Tensor, image_size_hw: tuple[int, int]) -> Tensor:
    """Inverse of ``normalize``: (..., 4) xyxy in units of the image -> pixels. Differentiable."""
    height, width = image_size_hw
    return boxes_norm * boxes_norm.new_tensor([width, height, width, height])


def encode_corners(boxes_norm: Tensor, priors_norm: Tensor) -> Tensor:
    """Expresses boxes as residuals (box - prior) / ``CORNER_SPREAD`` of their priors (1312.2249).

    Args:
        boxes_norm: (..., 4) float32 xyxy, units of the image.
        priors_norm: Same units; broadcast against ``boxes_norm``.

    Returns:
        (..., 4) float32 offsets of left, top, right and bottom edge. No boxes give no offsets. Differentiable.
    """
    return (boxes_norm - priors_norm) / CORNER_SPREAD


def decode_corners(offsets: Tensor, priors_norm: Tensor) -> Tensor:
    """Inverse of ``encode_corners``: (..., 4) offsets -> (..., 4) xyxy in units of the image. Differentiable.

    Nothing binds the edges to each other: boxes may leave the image, and the left edge may come to lie to the right of
    the right one. Such a box has no area; whoever chooses proposals drops it.
    """
    return priors_norm + offsets * CORNER_SPREAD

"""MultiBox as a stage of the detector, in both its forms: what it answers, proposes and learns from.

Both forms take the feature pyramid, answer every prior with a logit and offsets, turn the answers into boxes in pixels
of the network's input, and have an objective.
Legend: B images, L pyramid levels, K priors, A priors per cell, N some of the priors, G ground truths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from proposals.bipartite import match_bipartite
from proposals.box_coder import decode
from proposals.global_coder import decode_corners, denormalize, normalize
from proposals.global_head import GlobalMultiBoxHead
from proposals.global_loss import global_multibox_loss
from proposals.matching import match_priors
from proposals.multibox_head import MultiBoxHead
from proposals.multibox_loss import MultiBoxLosses, multibox_loss
from proposals.priors import lay_priors
from proposals.structures import MultiBoxOutput

MatchTo = Literal["predictions", "priors"]


class InputSizes(NamedTuple):
    """Sizes of a batch: of the padded input, and of the B images inside their padding; height and width in pixels."""

    padded_hw: tuple[int, int]
    images_hw: Sequence[tuple[int, int]]


class ConvolutionalMultiBox(nn.Module):
    """The multi-scale form (Szegedy et al., 1412.1441): priors of fitted sizes at every cell of the pyramid.

    Args:
        head: Judges the priors.
        prior_sizes: (L, A, 2) widths and heights in pixels of the input; saved with the weights.
        strides: L strides, those of the coarsest levels of the pyramid.
        positive_iou: See ``match_priors``.
        min_matches: See ``match_priors``.
    """

    prior_sizes: Tensor

    def __init__(
        self, head: MultiBoxHead, prior_sizes: Tensor, *, strides: Sequence[int], positive_iou: float, min_matches: int
    ) -> None:
        super().__init__()
        self.head = head
        self.strides = tuple(strides)
        self.positive_iou = positive_iou
        self.min_matches = min_matches
        self.register_buffer("prior_sizes", prior_sizes)

    def forward(self, pyramid: Sequence[Tensor], sizes: InputSizes) -> MultiBoxOutput:
        """L maps or more, of which the coarsest L count -> logits (B, K) and offsets (B, K, 4)."""
        output: MultiBoxOutput = self.head(pyramid[-len(self.strides) :])
        return output

    def priors(self, sizes: InputSizes) -> Tensor:
        """Where the priors lie, the same in every image: (K, 4) xyxy pixels."""
        return lay_priors(self.prior_sizes, strides=self.strides, input_size_hw=sizes.padded_hw)

    def decode(self, offsets: Tensor, rows: Tensor, sizes: InputSizes) -> Tensor:
        """Offsets (B, N, 4) of the priors ``rows`` (B, N) -> boxes (B, N, 4) xyxy pixels."""
        return decode(offsets, self.priors(sizes)[rows])

    def losses(
        self, output: MultiBoxOutput, sizes: InputSizes, gt_boxes: Sequence[Tensor], gt_ignore: Sequence[Tensor]
    ) -> MultiBoxLosses:
        """The objective, for objects as B tensors (G, 4) in pixels and B tensors (G,) bool."""
        priors = self.priors(sizes)
        matches = [
            match_priors(priors, boxes, ignore, positive_iou=self.positive_iou, min_matches=self.min_matches)
            for boxes, ignore in zip(gt_boxes, gt_ignore, strict=True)
        ]
        return multibox_loss(output, priors, gt_boxes, matches)


class GlobalMultiBox(nn.Module):
    """The first form (Erhan et al., 1312.2249): K priors for the whole image, each object matched to one of them.

    Args:
        head: Judges the priors.
        priors_norm: (K, 4) xyxy in units of the image; saved with the weights.
        alpha: Weight of the localization in the objective; 0.3 in the paper.
        match_to: ``predictions`` as in the paper's objective, or ``priors``, its prior matching.
    """

    priors_norm: Tensor

    def __init__(self, head: GlobalMultiBoxHead, priors_norm: Tensor, *, alpha: float, match_to: MatchTo) -> None:
        super().__init__()
        self.head = head
        self.alpha = alpha
        self.match_to = match_to
        self.register_buffer("priors_norm", priors_norm)

    def forward(self, pyramid: Sequence[Tensor], sizes: InputSizes) -> MultiBoxOutput:
        """The coarsest of L maps -> logits (B, K) and corner offsets (B, K, 4)."""
        output: MultiBoxOutput = self.head(pyramid[-1], sizes.images_hw)
        return output

    def priors(self, sizes: InputSizes) -> Tensor:
        """Where the priors lie in the one image: (K, 4) xyxy pixels."""
        (size_hw,) = sizes.images_hw
        return denormalize(self.priors_norm, size_hw)

    def decode(self, offsets: Tensor, rows: Tensor, sizes: InputSizes) -> Tensor:
        """Offsets (B, N, 4) of the priors ``rows`` (B, N) -> boxes (B, N, 4) xyxy pixels."""
        boxes_norm = decode_corners(offsets, self.priors_norm[rows])
        return torch.stack([denormalize(b, size_hw) for b, size_hw in zip(boxes_norm, sizes.images_hw, strict=True)])

    def losses(
        self, output: MultiBoxOutput, sizes: InputSizes, gt_boxes: Sequence[Tensor], gt_ignore: Sequence[Tensor]
    ) -> MultiBoxLosses:
        """The objective, for objects as B tensors (G, 4) in pixels and B tensors (G,) bool."""
        gt_norm = [normalize(boxes, size_hw) for boxes, size_hw in zip(gt_boxes, sizes.images_hw, strict=True)]
        matches = [
            match_bipartite(
                decode_corners(offsets, self.priors_norm),
                logits,
                boxes,
                ignore,
                alpha=self.alpha,
                priors_norm=self.priors_norm if self.match_to == "priors" else None,
            )
            for logits, offsets, boxes, ignore in zip(output.logits, output.offsets, gt_norm, gt_ignore, strict=True)
        ]
        return global_multibox_loss(output, self.priors_norm, gt_norm, matches, alpha=self.alpha)


MultiBox = ConvolutionalMultiBox | GlobalMultiBox
"""Either form."""

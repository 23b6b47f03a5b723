"""From judged regions to detections. Legend: R RoIs, C classes, D detections."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from detection.matrix_nms import decay_scores, num_candidates
from detection.structures import Detections
from proposals.box_coder import decode
from proposals.box_ops import clip, is_valid
from proposals.structures import Proposals

OFFSET_SCALE = 0.1
"""Refinements are small; the heads predict them in units of a tenth, so that outputs are near 1."""


@dataclass(frozen=True)
class DetectionSettings:
    """How judged regions become detections.

    Attributes:
        score_threshold: Detections below are dropped.
        nms_sigma: Of Matrix NMS; None removes boxes instead, see ``nms_iou_threshold``.
        nms_iou_threshold: Overlap above which the lower-scored of two boxes of one class goes, without ``nms_sigma``.
        max_detections: D at most.
        objectness_power: Exponent of the objectness in the score; 0 ignores it.
    """

    score_threshold: float
    nms_sigma: float | None
    nms_iou_threshold: float
    max_detections: int
    objectness_power: float

    @property
    def overlap_lost(self) -> float:
        """Overlap from which a better detection of its class costs another its place, or half its score."""
        return self.nms_iou_threshold if self.nms_sigma is None else math.sqrt(self.nms_sigma * math.log(2))

    def describe_suppression(self) -> str:
        """For a report."""
        return f"IoU {self.nms_iou_threshold:g}" if self.nms_sigma is None else f"Matrix NMS, sigma {self.nms_sigma:g}"


def score_regions(proposals: Proposals, probabilities: Tensor, settings: DetectionSettings) -> Tensor:
    """The score that a detection of each region and class gets: the probability times a power of the objectness.

    Args:
        proposals: R proposals.
        probabilities: (R, C + 1), background last.
        settings: Of which ``objectness_power`` counts.

    Returns:
        (R, C) scores. R = 0 gives (0, C). Differentiable.
    """
    objectness = proposals.scores.pow(settings.objectness_power)
    return probabilities[:, :-1] * objectness[:, None]


def refine_boxes(boxes: Tensor, offsets: Tensor | None, image_size_hw: tuple[int, int] | Tensor) -> Tensor:
    """Moves boxes as the classifier's refinement says, and into the image.

    Args:
        boxes: (..., 4) proposals, in pixels of the network's input.
        offsets: (..., 4) in units of ``OFFSET_SCALE``, one a box; None for no refinement.
        image_size_hw: Of the network's input without padding; a tensor (2,) as for ``clip``.

    Returns:
        (..., 4) in the same pixels, possibly empty boxes; without refinement ``boxes`` themselves. Differentiable.
    """
    return boxes if offsets is None else clip(decode(offsets * OFFSET_SCALE, boxes), image_size_hw)


@torch.no_grad()
def select_detections(
    proposals: Proposals,
    probabilities: Tensor,
    offsets: Tensor | None,
    settings: DetectionSettings,
) -> Detections:
    """Scores every region for every class, refines, lowers or removes duplicates per class and keeps the best.

    The score is the ensemble's mean probability times a power of the objectness: the classifier knows what it
    is, the proposal stage knows how well the box fits.

    Args:
        proposals: R proposals.
        probabilities: (R, C + 1), background last.
        offsets: (R, C, 4) in units of ``OFFSET_SCALE``, or None for no refinement.
        settings: Thresholds.

    Returns:
        Detections in pixels of the network's input, best first; possibly empty.
    """
    scores = score_regions(proposals, probabilities, settings)
    rows, labels = (scores >= settings.score_threshold).nonzero(as_tuple=True)
    chosen = None if offsets is None else offsets[rows, labels]
    boxes = refine_boxes(proposals.boxes[rows], chosen, proposals.image_size_hw)
    kept = is_valid(boxes)
    boxes, scores, labels = boxes[kept], scores[rows, labels][kept], labels[kept]
    found = Detections(boxes, scores, labels, proposals.image_size_hw)
    if settings.nms_sigma is None:
        return found[batched_nms(boxes, scores, labels, settings.nms_iou_threshold)[: settings.max_detections]]
    return _lower_repeats(found, settings.nms_sigma, settings)


def _lower_repeats(found: Detections, sigma: float, settings: DetectionSettings) -> Detections:
    """Matrix NMS: lowers the scores of what repeats better detections, and keeps the best of what is left."""
    best = found[found.scores.argsort(descending=True, stable=True)[: num_candidates(settings.max_detections)]]
    lowered = replace(best, scores=decay_scores(best.boxes, best.scores, best.labels, sigma))
    order = lowered.scores.argsort(descending=True, stable=True)
    return lowered[order[lowered.scores[order] >= settings.score_threshold]][: settings.max_detections]

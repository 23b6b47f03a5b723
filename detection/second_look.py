"""The second look: a region is judged once more, by heads of their own, where the first look has moved it.

Proposals fit loosely, and a head that judges them must judge what it can only half see; moved to where the first look
refines them they fit better, and heads that have learnt from such regions refine them further and tell near misses
from hits (two stages of Cascade R-CNN, 1712.00726, section 4). Legend: R regions, C classes, G ground truths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detection.ensemble import EnsembleOutput, mean_offsets, mean_probabilities
from detection.postprocess import refine_boxes
from detection.roi_sampling import SampledRois, best_overlap
from detection.structures import Target
from proposals.box_ops import is_valid, lie_within

STRICTER = 0.1
"""By how much more a region of the second look must overlap an object than one of the first."""

LEAST_SIDE = 1.0
"""Pixels of the input; no region has a shorter side."""


def move_regions(
    boxes: Tensor, probabilities: Tensor, offsets: Tensor, image_size_hw: tuple[int, int] | Tensor
) -> Tensor:
    """Every region refined for the class that it most probably shows; one that would vanish stays where it is.

    Args:
        boxes: (R, 4) xyxy in pixels of the network's input.
        probabilities: (R, C + 1), background last, which moves no region.
        offsets: (R, C, 4) in units of ``OFFSET_SCALE``.
        image_size_hw: Of the network's input without padding; a tensor (2,) as for ``clip``.

    Returns:
        (R, 4) in the same pixels. R = 0 gives (0, 4).
    """
    labels = probabilities[:, :-1].argmax(dim=1)
    chosen = offsets.gather(1, labels[:, None, None].expand(-1, 1, 4)).squeeze(1)
    moved = refine_boxes(boxes, chosen, image_size_hw)
    return torch.where(is_valid(moved, min_size=LEAST_SIDE)[:, None], moved, boxes)


def label_anew(
    rois: SampledRois, moved: Tensor, target: Target, *, num_classes: int, foreground_iou: float
) -> SampledRois:
    """What the second look should say of the regions of an image that have moved.

    Args:
        rois: The R regions as the first look learnt from them.
        moved: (R, 4) where they lie now.
        target: The objects of the image.
        num_classes: C.
        foreground_iou: Overlap from which a region counts as the object.

    Returns:
        The same R regions in the same order. One that has moved onto an ignored region, which is neither an object
        nor background, stays where it was.
    """
    gt_boxes, gt_labels = target.boxes[~target.ignore], target.labels[~target.ignore]
    iou, index = best_overlap(moved, gt_boxes)
    hits = (iou >= foreground_iou).nonzero().squeeze(1)
    labels = torch.full_like(rois.labels, num_classes)
    matched = moved.clone()
    labels[hits] = gt_labels[index[hits]]
    matched[hits] = gt_boxes[index[hits]]
    stays = (labels == num_classes) & lie_within(moved, target.boxes[target.ignore])
    return SampledRois(
        torch.where(stays[:, None], rois.boxes, moved),
        torch.where(stays, rois.labels, labels),
        torch.where(stays[:, None], rois.gt_boxes, matched),
    )


@torch.no_grad()
def follow_rois(
    rois: Sequence[SampledRois],
    judged: EnsembleOutput,
    targets: Sequence[Target],
    *,
    num_classes: int,
    foreground_iou: float,
) -> list[SampledRois]:
    """The regions that the second look learns from: those of the first, where that moves them.

    Args:
        rois: Of each image of a batch.
        judged: What the members of the first look say of them all.
        targets: The objects of each image.
        num_classes: C.
        foreground_iou: Overlap from which a region of the first look counts as an object; the second asks for more.

    Returns:
        As many regions for each image, in the same order, with what the second look should say of them there.
    """
    assert judged.offsets is not None
    counts = [len(each.boxes) for each in rois]
    said = zip(mean_probabilities(judged.logits).split(counts), mean_offsets(judged.offsets).split(counts), strict=True)
    moved = [move_regions(r.boxes, *p, t.image_size_hw) for r, p, t in zip(rois, said, targets, strict=True)]
    enough = min(1.0, foreground_iou + STRICTER)
    return [
        label_anew(r, boxes, t, num_classes=num_classes, foreground_iou=enough)
        for r, boxes, t in zip(rois, moved, targets, strict=True)
    ]

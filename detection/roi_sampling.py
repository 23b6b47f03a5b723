"""Which regions the classifier learns from. Legend: P proposals, G ground truths, R sampled RoIs, C classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detection.structures import Target
from proposals.box_ops import box_iou, clip, is_valid, lie_within
from proposals.structures import Proposals


@dataclass(frozen=True)
class SampledRois:
    """Regions of one image with what the classifier should say of them.

    Attributes:
        boxes: (R, 4) float32 xyxy, pixels of the network's input.
        labels: (R,) int64 in [0, C]; C is background.
        gt_boxes: (R, 4) the matched object's box; for background the region itself.
    """

    boxes: Tensor
    labels: Tensor
    gt_boxes: Tensor


@dataclass(frozen=True)
class RoiSamplingSettings:
    """How regions are drawn.

    Attributes:
        num_rois: R at most; fewer where there are not enough regions.
        foreground_fraction: Share of R that objects take at most.
        foreground_iou: Overlap from which a region counts as the object.
    """

    num_rois: int
    foreground_fraction: float
    foreground_iou: float


def jitter(boxes: Tensor, image_size_hw: tuple[int, int], *, amount: float, generator: torch.Generator) -> Tensor:
    """Moves every edge by up to ``amount`` of the box's size, as proposals of middling quality would lie: (G, 4)."""
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.rand(boxes.shape, generator=generator).to(boxes.device) * 2 - 1
    return clip(boxes + noise * amount * size, image_size_hw)


def sample_rois(
    proposals: Proposals,
    target: Target,
    *,
    num_classes: int,
    settings: RoiSamplingSettings,
    generator: torch.Generator,
) -> SampledRois:
    """Draws a fixed budget of regions: objects up to their share, the rest background.

    The objects' own boxes, exact and jittered, join the proposals, so that the classifier sees objects from the first
    step on, while the proposals are still poor. A background region of which more than half lies in an ignored region
    is left out: crowd and difficult objects are never negatives.

    Args:
        proposals: Proposals of one image.
        target: Its objects.
        num_classes: C.
        settings: How many of which kind.
        generator: Source of chance, on the CPU.

    Returns:
        The sample, objects first. An image without objects gives background only.
    """
    gt_boxes, gt_labels = target.boxes[~target.ignore], target.labels[~target.ignore]
    jittered = jitter(gt_boxes, target.image_size_hw, amount=0.2, generator=generator)
    boxes = torch.cat([proposals.boxes, gt_boxes, jittered])
    boxes = boxes[is_valid(boxes, min_size=1.0)]
    iou, gt_index = best_overlap(boxes, gt_boxes)
    is_foreground = iou >= settings.foreground_iou
    is_background = ~is_foreground
    is_background &= ~lie_within(boxes, target.boxes[target.ignore])
    most_foreground = max(1, int(settings.num_rois * settings.foreground_fraction))  # else no object would be learnt
    foreground = _draw(is_foreground, most_foreground, generator)
    background = _draw(is_background, settings.num_rois - len(foreground), generator)
    rows = torch.cat([foreground, background])
    labels = torch.full((len(rows),), num_classes, dtype=torch.int64, device=boxes.device)
    matched = boxes[rows].clone()
    labels[: len(foreground)] = gt_labels[gt_index[foreground]]
    matched[: len(foreground)] = gt_boxes[gt_index[foreground]]
    return SampledRois(boxes[rows], labels, matched)


def sample_batch(
    proposals: Sequence[Proposals],
    targets: Sequence[Target],
    *,
    num_classes: int,
    settings: RoiSamplingSettings,
    generators: Sequence[torch.Generator],
) -> list[SampledRois]:
    """``sample_rois`` for each image of a batch, in order, each with a source of chance of its own."""
    return [
        sample_rois(p, t, num_classes=num_classes, settings=settings, generator=g)
        for p, t, g in zip(proposals, targets, generators, strict=True)
    ]


def concatenate_rois(rois: Sequence[SampledRois]) -> SampledRois:
    """The samples of several images as one, in order."""
    return SampledRois(
        torch.cat([r.boxes for r in rois]), torch.cat([r.labels for r in rois]), torch.cat([r.gt_boxes for r in rois])
    )


def best_overlap(boxes: Tensor, gt_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(P, 4), (G, 4) -> greatest IoU (P,) and its object (P,); IoU 0 where there are no objects."""
    if not len(gt_boxes):
        return boxes.new_zeros(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    iou, gt_index = box_iou(boxes, gt_boxes).max(dim=1)
    return iou, gt_index


def _draw(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most ``count`` of the rows that ``mask`` allows, drawn without replacement."""
    rows = mask.nonzero().squeeze(1)
    chosen = torch.randperm(len(rows), generator=generator)[:count]
    return rows[chosen.to(rows.device)]

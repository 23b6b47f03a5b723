"""What one member of the crop form learns from: warped regions of a batch of images.

Legend: B images, R sampled regions of the batch, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from detection.chance import StepChance
from detection.crop.classifier import CropClassifier
from detection.crop.network import place_regions
from detection.crop.warp import CropShape, warp_regions
from detection.losses import region_losses
from detection.roi_sampling import RoiSamplingSettings, concatenate_rois, sample_batch
from detection.structures import Target
from proposals.multibox import InputSizes
from proposals.structures import Proposals

Propose = Callable[[Tensor, InputSizes, Sequence[Proposals] | None], list[Proposals]]
"""Images (B, 3, H, W), their sizes and what another method proposes -> the proposals of each image."""


@dataclass(frozen=True)
class CropObjectiveSettings:
    """What a member learns from.

    Attributes:
        shape: Of the crops.
        sampling: Regions of a whole step, dealt out evenly to its images.
        weights: Weight of each loss by name.
    """

    shape: CropShape
    sampling: RoiSamplingSettings
    weights: dict[str, float]


def share_out(sampling: RoiSamplingSettings, num_images: int) -> RoiSamplingSettings:
    """The sample of one image, such that those of all images make up that of a step; room for one object at least."""
    num_rois = max(1, sampling.num_rois // num_images)
    num_objects = max(1, int(num_rois * sampling.foreground_fraction))
    # Half a region more, so that no rounding makes one fewer of it.
    return replace(sampling, num_rois=num_rois, foreground_fraction=(num_objects + 0.5) / num_rois)


class CropObjective(nn.Module):
    """A member and its losses as one module, so that a distributed wrapper sees a single forward pass.

    Args:
        member: The classifier to train.
        propose: Makes the proposals; what it uses is not trained here, and is no part of this module.
        settings: What the member learns from.
    """

    def __init__(self, member: CropClassifier, propose: Propose, settings: CropObjectiveSettings) -> None:
        super().__init__()
        self.member = member
        self.propose = propose
        self.settings = settings

    def forward(
        self,
        images: Tensor,
        targets: Sequence[Target],
        given: Sequence[Proposals] | None,
        chance: StepChance,
    ) -> dict[str, Tensor]:
        """One training pass.

        Args:
            images: (B, 3, H, W) uint8 RGB, padded.
            targets: B targets in pixels of the input.
            given: B lists of proposals of another method, in the same pixels; None without one.
            chance: That of the step.

        Returns:
            Name -> weighted scalar loss; their sum is the objective. Images of which nothing can be learnt give 0.
        """
        s, member = self.settings, self.member
        sizes = InputSizes((images.shape[-2], images.shape[-1]), [target.image_size_hw for target in targets])
        proposals = self.propose(images, sizes, given)
        sampling = share_out(s.sampling, len(targets))
        generators = chance.of_images(len(targets))
        sampled = sample_batch(
            proposals, targets, num_classes=member.num_classes, settings=sampling, generators=generators
        )
        rois = concatenate_rois(sampled)
        if not len(rois.boxes):  # batch normalisation has no statistics of nothing
            return {"region_class": member.logits.bias.sum() * 0}
        boxes, rows = place_regions([each.boxes for each in sampled])
        judged = member(warp_regions(images, sizes.images_hw, boxes, rows, shape=s.shape))
        everything = torch.ones(judged.logits.shape[:2], dtype=torch.bool, device=images.device)
        classification, refinement = region_losses(judged, rois, everything)
        losses = {"region_class": classification}
        if judged.offsets is not None:
            losses["region_box"] = refinement
        return {name: loss * s.weights[name] for name, loss in losses.items()}

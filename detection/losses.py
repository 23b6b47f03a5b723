"""The training objective: proposals, class scores and box refinement, learnt together in one pass.

Legend: B images, K priors, G ground truths, R sampled RoIs of the batch, M members, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detection.chance import StepChance
from detection.ensemble import EnsembleOutput, draw_member_samples
from detection.network import DetectionNetwork
from detection.postprocess import OFFSET_SCALE
from detection.processes import pad_alike
from detection.roi_sampling import RoiSamplingSettings, SampledRois, concatenate_rois, sample_batch
from detection.second_look import follow_rois
from detection.structures import Target
from proposals.box_coder import decode
from proposals.box_ops import paired_giou, paired_iou
from proposals.generator import ProposalSettings
from proposals.multibox import InputSizes
from proposals.normalizer import normalizer
from proposals.structures import Proposals


@dataclass(frozen=True)
class ObjectiveSettings:
    """What the network learns from.

    Attributes:
        proposal_settings: Proposals of the training pass, more than at inference.
        sampling: Regions that the classifier learns from, per image.
        sample_fraction: Share of the regions that each member sees.
        weights: Weight of each loss by name.
    """

    proposal_settings: ProposalSettings
    sampling: RoiSamplingSettings
    sample_fraction: float
    weights: dict[str, float]


def region_losses(judged: EnsembleOutput, rois: SampledRois, member_samples: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of every member and generalised IoU of the refined objects, each over its own sample.

    Members that refine learn to say how well their box fits: an object's class is to get the IoU that the refined box
    reaches, background the rest (the quality of 2006.04388, eq. 2, under a softmax), so that ranking by score ranks by
    fit. Without refinement labels are hard, as in the paper.

    Args:
        judged: Logits (M, R, C + 1) and offsets (M, R, C, 4).
        rois: The R regions.
        member_samples: (M, R) bool, which member learns from which region.

    Returns:
        Two scalars: classification, refinement. The refinement of a sample without objects is exactly 0.
    """
    members, num_rois, num_logits = judged.logits.shape
    fit, refinement = judged.logits.new_ones(members, num_rois), judged.logits.sum() * 0
    if judged.offsets is not None:
        foreground = (rois.labels < num_logits - 1).nonzero().squeeze(1)
        offsets = judged.offsets[:, foreground, rois.labels[foreground]]  # (M, Rf, 4)
        boxes = decode(offsets * OFFSET_SCALE, rois.boxes[foreground])
        fit[:, foreground] = paired_iou(boxes.detach(), rois.gt_boxes[foreground])
        distance = (1 - paired_giou(boxes, rois.gt_boxes[foreground])) * member_samples[:, foreground]
        refinement = distance.sum() / normalizer(member_samples[:, foreground].sum())
    log_probabilities = judged.logits.log_softmax(dim=-1)
    of_label = log_probabilities[:, torch.arange(num_rois, device=fit.device), rois.labels]  # (M, R)
    cross_entropy = -(fit * of_label + (1 - fit) * log_probabilities[..., -1])
    return (cross_entropy * member_samples).sum() / normalizer(member_samples.sum()), refinement


def draw_samples(
    rois: Sequence[SampledRois], generators: Sequence[torch.Generator], *, members: int, fraction: float
) -> Tensor:
    """Which of the R regions of a batch each member learns from, drawn image by image: (M, R) bool on the CPU."""
    drawn = [
        draw_member_samples(members, len(each.boxes), fraction=fraction, generator=generator)
        for each, generator in zip(rois, generators, strict=True)
    ]
    return torch.cat(drawn, dim=1)


class TrainingObjective(nn.Module):
    """Network and losses as one module, so that a distributed wrapper sees a single forward pass.

    Args:
        network: The network to train.
        settings: What it learns from.
    """

    def __init__(self, network: DetectionNetwork, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.network = network
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
            given: B lists of proposals of another method, in the same pixels; None where the network has its own only.
            chance: That of the step.

        Returns:
            Name -> weighted scalar loss; their sum is the objective. Finite also for images without objects.
        """
        s, network, images = self.settings, self.network, pad_alike(images)
        pyramid = network.extract(images)
        sizes = InputSizes((images.shape[-2], images.shape[-1]), [target.image_size_hw for target in targets])
        losses: dict[str, Tensor] = {}
        output = None
        if network.multibox is not None:
            output = network.multibox(pyramid, sizes)
            boxes, ignore = [t.boxes for t in targets], [t.ignore for t in targets]
            found = network.multibox.losses(output, sizes, boxes, ignore)
            losses |= {"proposal_objectness": found.confidence, "proposal_box": found.localization}
        proposals = network.propose(output, sizes, given, s.proposal_settings)
        classes = network.classifier.num_classes
        generators = chance.of_images(len(targets))
        rois = sample_batch(proposals, targets, num_classes=classes, settings=s.sampling, generators=generators)
        judged = network.classifier(pyramid, [r.boxes for r in rois])
        samples = draw_samples(rois, generators, members=len(judged.logits), fraction=s.sample_fraction)
        samples = samples.to(images.device)
        classification, refinement = region_losses(judged, concatenate_rois(rois), samples)
        if network.second_look is not None:
            moved = follow_rois(rois, judged, targets, num_classes=classes, foreground_iou=s.sampling.foreground_iou)
            again = network.second_look(pyramid, [m.boxes for m in moved])
            second = region_losses(again, concatenate_rois(moved), samples)
            classification, refinement = classification + second[0], refinement + second[1]
        # A level to which no region belongs would have no gradient, and where several processes train, this one's
        # normalisation would wait for others that never come to theirs: so every level contributes an empty term.
        classification = classification + sum(level[:0].sum() for level in pyramid)
        losses |= {"region_class": classification, "region_box": refinement}
        return {name: loss * s.weights[name] for name, loss in losses.items()}

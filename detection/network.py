"""The detector's network: an image batch in, detections out. One composition of five built parts.

Legend: B images, L pyramid levels, K priors, P proposals, R RoIs, M members, C classes, H/W padded input size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backbone.googlenet import GoogLeNet
from backbone.normalization import ColourNormalization
from detection.ensemble import mean_offsets, mean_probabilities
from detection.postprocess import DetectionSettings, select_detections
from detection.roi_classifier import RoiClassifier
from detection.second_look import move_regions
from detection.structures import Detections
from proposals.generator import ProposalSettings, generate_proposals
from proposals.merging import merge_proposals
from proposals.multibox import InputSizes, MultiBox
from proposals.pyramid import FeaturePyramid
from proposals.structures import MultiBoxOutput, Proposals


@dataclass(frozen=True)
class InferenceSettings:
    """What the network does with its answers when it detects."""

    proposals: ProposalSettings
    detections: DetectionSettings


class Judgement(NamedTuple):
    """What the classifier says of one image's P proposals, before any is dropped; in pixels of the input.

    ``regions`` are where they lay when they were judged last: as proposed, or as the first of two looks moved them.
    ``probabilities`` are (P, C + 1), background last; ``offsets`` of the regions are (P, C, 4), or None for no
    refinement.
    """

    proposals: Proposals
    regions: Proposals
    probabilities: Tensor
    offsets: Tensor | None


class Answer(NamedTuple):
    """What the network says of one image: the proposals it looked at and the detections it made of them."""

    proposals: Proposals
    detections: Detections


def conclude(judgement: Judgement, settings: DetectionSettings) -> Answer:
    """Keeps the detections of one judged image."""
    found = select_detections(judgement.regions, judgement.probabilities, judgement.offsets, settings)
    return Answer(judgement.proposals, found)


class DetectionNetwork(nn.Module):
    """Backbone, pyramid, MultiBox head, region ensemble and second look.

    Args:
        backbone: GoogLeNet without a classifier.
        pyramid: Merges L of its stages.
        multibox: Proposes regions; None where they are always given.
        classifier: Judges the regions.
        second_look: Judges them once more where the classifier has moved them; None for one look.
        inference: How many proposals and detections there are.
    """

    def __init__(
        self,
        backbone: GoogLeNet,
        pyramid: FeaturePyramid,
        *,
        multibox: MultiBox | None,
        classifier: RoiClassifier,
        second_look: RoiClassifier | None = None,
        inference: InferenceSettings,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.multibox = multibox
        self.classifier = classifier
        self.second_look = second_look
        self.proposal_settings = inference.proposals
        self.detection_settings = inference.detections
        self.normalize = ColourNormalization()

    def extract(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB from 0 to 255, uint8 or float32 -> L pyramid maps (B, F, H / stride, W / stride).

        One more stands in front where the pyramid has a level for pooling alone.
        """
        dtype = self.backbone.conv1.conv.weight.dtype  # bfloat16 in a prepared detector
        return self.pyramid(self.backbone.features(self.normalize(images, dtype)))

    def propose(
        self,
        output: MultiBoxOutput | None,
        sizes: InputSizes,
        given: Sequence[Proposals] | None,
        settings: ProposalSettings,
    ) -> list[Proposals]:
        """The regions to judge: MultiBox's own, those given, or both.

        Args:
            output: What MultiBox answered; None without MultiBox.
            sizes: Of the B images.
            given: B lists of another method, in pixels of the input; None without one.
            settings: How many of MultiBox's.

        Raises:
            ValueError: If there are neither.
        """
        if self.multibox is None or output is None:
            if given is None:
                raise ValueError("this network has no MultiBox; give it proposals")
            return list(given)
        learned = generate_proposals(self.multibox, output, sizes, settings)
        return learned if given is None else [merge_proposals(*pair) for pair in zip(learned, given, strict=True)]

    def forward(
        self, images: Tensor, image_sizes_hw: Sequence[tuple[int, int]], given: Sequence[Proposals] | None = None
    ) -> list[Answer]:
        """Detects objects; for inference.

        Args:
            images: (B, 3, H, W) RGB from 0 to 255, uint8 or float32, padded to multiples of the largest stride.
            image_sizes_hw: B sizes of the images inside their padding.
            given: B lists of proposals of another method, in pixels of the input; see ``propose``.

        Returns:
            B answers in pixels of the input. An image alone and in a batch gets the same answer.
        """
        return [conclude(each, self.detection_settings) for each in self.judge(images, image_sizes_hw, given)]

    def judge(
        self, images: Tensor, image_sizes_hw: Sequence[tuple[int, int]], given: Sequence[Proposals] | None = None
    ) -> list[Judgement]:
        """Proposes regions and judges them all; arguments as for ``forward``."""
        pyramid = self.extract(images)
        sizes = InputSizes((images.shape[-2], images.shape[-1]), image_sizes_hw)
        output = None if self.multibox is None else self.multibox(pyramid, sizes)
        proposals = self.propose(output, sizes, given, self.proposal_settings)
        return [
            self.judge_image([level[row : row + 1] for level in pyramid], found) for row, found in enumerate(proposals)
        ]

    def judge_image(self, pyramid: Sequence[Tensor], proposals: Proposals) -> Judgement:
        """Judges one image by itself: in products with other images' regions the last digits would depend on these.

        Args:
            pyramid: What ``extract`` gives, of this image.
            proposals: Of the image, in pixels of the input.
        """
        first = self.classifier(pyramid, [proposals.boxes])
        probabilities = mean_probabilities(first.logits)
        offsets = None if first.offsets is None else mean_offsets(first.offsets)
        if self.second_look is None or offsets is None:
            return Judgement(proposals, proposals, probabilities, offsets)
        boxes = move_regions(proposals.boxes, probabilities, offsets, proposals.image_size_hw)
        second = self.second_look(pyramid, [boxes])
        assert second.offsets is not None
        everyone = torch.cat([first.logits, second.logits])
        regions = replace(proposals, boxes=boxes)
        return Judgement(proposals, regions, mean_probabilities(everyone), mean_offsets(second.offsets))

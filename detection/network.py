"""The detector's network: an image batch in, detections out. One composition of four built parts.

Legend: B images, L pyramid levels, K priors, P proposals, R RoIs, M members, C classes, H/W padded input size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from backbone.googlenet import GoogLeNet
from backbone.normalization import ColourNormalization
from detection.ensemble import mean_offsets, mean_probabilities
from detection.postprocess import DetectionSettings, select_detections
from detection.roi_classifier import RoiClassifier
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

    ``probabilities`` are (P, C + 1), background last; ``offsets`` are (P, C, 4), or None for no refinement.
    """

    proposals: Proposals
    probabilities: Tensor
    offsets: Tensor | None


class Answer(NamedTuple):
    """What the network says of one image: the proposals it looked at and the detections it made of them."""

    proposals: Proposals
    detections: Detections


def conclude(judgement: Judgement, settings: DetectionSettings) -> Answer:
    """Keeps the detections of one judged image."""
    return Answer(judgement.proposals, select_detections(*judgement, settings))


class DetectionNetwork(nn.Module):
    """Backbone, pyramid, MultiBox head and region ensemble.

    Args:
        backbone: GoogLeNet without a classifier.
        pyramid: Merges L of its stages.
        multibox: Proposes regions; None where they are always given.
        classifier: Judges the regions.
        inference: How many proposals and detections there are.
    """

    def __init__(
        self,
        backbone: GoogLeNet,
        pyramid: FeaturePyramid,
        *,
        multibox: MultiBox | None,
        classifier: RoiClassifier,
        inference: InferenceSettings,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.multibox = multibox
        self.classifier = classifier
        self.proposal_settings = inference.proposals
        self.detection_settings = inference.detections
        self.normalize = ColourNormalization()

    def extract(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB from 0 to 255, uint8 or float32 -> L pyramid maps (B, F, H / stride, W / stride)."""
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
            self._judge_image([level[row : row + 1] for level in pyramid], found) for row, found in enumerate(proposals)
        ]

    def _judge_image(self, pyramid: Sequence[Tensor], proposals: Proposals) -> Judgement:
        """By itself: in products with other images' regions the last digits would depend on these."""
        judged = self.classifier(pyramid, [proposals.boxes])
        offsets = None if judged.offsets is None else mean_offsets(judged.offsets)
        return Judgement(proposals, mean_probabilities(judged.logits), offsets)

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
from proposals.generator import generate_proposals
from proposals.multibox_head import MultiBoxHead
from proposals.priors import lay_priors
from proposals.pyramid import FeaturePyramid
from proposals.structures import MultiBoxOutput, Proposals


@dataclass(frozen=True)
class ProposalSettings:
    """How many proposals leave the first stage; see ``generate_proposals``."""

    num_proposals: int
    num_candidates: int
    nms_iou_threshold: float


@dataclass(frozen=True)
class InferenceSettings:
    """What the network does with its answers when it detects."""

    proposals: ProposalSettings
    detections: DetectionSettings


class Answer(NamedTuple):
    """What the network says of one image: the proposals it looked at and the detections it made of them."""

    proposals: Proposals
    detections: Detections


class DetectionNetwork(nn.Module):
    """Backbone, pyramid, MultiBox head and region ensemble.

    Args:
        backbone: GoogLeNet without a classifier.
        pyramid: Merges L of its stages.
        multibox_head: Judges the priors.
        classifier: Judges the regions.
        prior_sizes: (L, A, 2) widths and heights in pixels of the input; saved with the weights.
        inference: How many proposals and detections there are.
    """

    prior_sizes: Tensor

    def __init__(
        self,
        backbone: GoogLeNet,
        pyramid: FeaturePyramid,
        *,
        multibox_head: MultiBoxHead,
        classifier: RoiClassifier,
        prior_sizes: Tensor,
        inference: InferenceSettings,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.multibox_head = multibox_head
        self.classifier = classifier
        self.proposal_settings = inference.proposals
        self.detection_settings = inference.detections
        self.register_buffer("prior_sizes", prior_sizes)
        self.normalize = ColourNormalization()

    def extract(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) uint8 RGB -> L pyramid maps (B, F, H / stride, W / stride)."""
        dtype = self.backbone.conv1.conv.weight.dtype  # bfloat16 in a prepared detector
        return self.pyramid(self.backbone.features(self.normalize(images, dtype)))

    def priors(self, images: Tensor) -> Tensor:
        """The priors of an input of this size: (K, 4) xyxy pixels."""
        strides = [stage.stride for stage in self.pyramid.stages]
        return lay_priors(self.prior_sizes, strides=strides, input_size_hw=(images.shape[-2], images.shape[-1]))

    def propose(
        self, output: MultiBoxOutput, priors: Tensor, image_sizes_hw: Sequence[tuple[int, int]]
    ) -> list[Proposals]:
        """The head's answers -> B lists of proposals, by the settings of inference."""
        return generate_proposals(output, priors, image_sizes_hw, **vars(self.proposal_settings))

    def forward(self, images: Tensor, image_sizes_hw: Sequence[tuple[int, int]]) -> list[Answer]:
        """Detects objects; for inference.

        Args:
            images: (B, 3, H, W) uint8 RGB, padded to multiples of the largest stride.
            image_sizes_hw: B sizes of the images inside their padding.

        Returns:
            B answers in pixels of the input. An image alone and in a batch gets the same answer.
        """
        pyramid = self.extract(images)
        output = self.multibox_head(pyramid)
        proposals = self.propose(output, self.priors(images), image_sizes_hw)
        judged = self.classifier(pyramid, [p.boxes for p in proposals])
        counts = [len(p) for p in proposals]
        probabilities = mean_probabilities(judged.logits).split(counts)
        offsets = [None] * len(counts) if judged.offsets is None else mean_offsets(judged.offsets).split(counts)
        return [
            Answer(p, select_detections(p, probability, offset, self.detection_settings))
            for p, probability, offset in zip(proposals, probabilities, offsets, strict=True)
        ]

"""The detector's network in the crop form: proposals, then whole GoogLeNets over each region.

It is asked as ``DetectionNetwork`` is, so everything made around detectors takes either.
Legend: B images, P proposals, R regions of the batch, M members, C classes, H/W padded input size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from detection.crop.classifier import CropClassifier
from detection.crop.warp import CropShape, warp_regions
from detection.ensemble import EnsembleOutput, mean_offsets, mean_probabilities
from detection.network import Answer, DetectionNetwork, InferenceSettings, Judgement, conclude
from proposals.generator import ProposalSettings
from proposals.multibox import InputSizes, MultiBox
from proposals.structures import Proposals


class CropNetwork(nn.Module):
    """What proposes regions, and M classifiers whose mean probability is a region's score.

    Crops are cut out of the network's input, so its size decides how sharp they are.

    Args:
        proposer: A detector's network, of which only the proposals are used; None where they are always given.
        members: The classifiers, of the same classes.
        shape: Of the crops.
        batch: Regions that are classified at once; memory does not grow with their number.
        inference: How many proposals and detections there are.
    """

    def __init__(
        self,
        proposer: DetectionNetwork | None,
        members: Sequence[CropClassifier],
        *,
        shape: CropShape,
        batch: int,
        inference: InferenceSettings,
    ) -> None:
        super().__init__()
        self.proposer = proposer
        self.members = nn.ModuleList(members)
        self.shape = shape
        self.batch = batch
        self.proposal_settings = inference.proposals
        self.detection_settings = inference.detections

    @property
    def multibox(self) -> MultiBox | None:
        """What proposes regions; None where they are always given."""
        return None if self.proposer is None else self.proposer.multibox

    def extract(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB from 0 to 255, uint8 or float32 -> the features that MultiBox proposes from.

        Raises:
            ValueError: If the proposals are always given.
        """
        if self.proposer is None:
            raise ValueError("this network has no MultiBox and so no features; give it proposals")
        return self.proposer.extract(images)

    def forward(
        self, images: Tensor, image_sizes_hw: Sequence[tuple[int, int]], given: Sequence[Proposals] | None = None
    ) -> list[Answer]:
        """Detects objects, for inference; arguments and answers are those of ``DetectionNetwork.forward``."""
        return [conclude(each, self.detection_settings) for each in self.judge(images, image_sizes_hw, given)]

    def judge(
        self, images: Tensor, image_sizes_hw: Sequence[tuple[int, int]], given: Sequence[Proposals] | None = None
    ) -> list[Judgement]:
        """Proposes regions and judges them all; arguments as for ``forward``."""
        sizes = InputSizes((images.shape[-2], images.shape[-1]), image_sizes_hw)
        proposals = propose_regions(self.proposer, images, sizes, given, self.proposal_settings)
        inputs = zip(images.split(1), image_sizes_hw, proposals, strict=True)
        return [self._judge_image(*each) for each in inputs]

    def _judge_image(self, image: Tensor, size_hw: tuple[int, int], proposals: Proposals) -> Judgement:
        """Judges one image (1, 3, H, W) alone: the last digits of products depend on what else is multiplied."""
        # An empty set of regions is judged too, in one batch: that gives answers of the right shape.
        parts = [self._judge_batch(image, size_hw, boxes) for boxes in proposals.boxes.split(self.batch)]
        probabilities = torch.cat([probability for probability, _ in parts])
        refinements = [offsets for _, offsets in parts if offsets is not None]
        return Judgement(proposals, proposals, probabilities, torch.cat(refinements) if refinements else None)

    def _judge_batch(self, image: Tensor, size_hw: tuple[int, int], boxes: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the members say on average of R regions: probabilities (R, C + 1), offsets (R, C, 4) or None."""
        rows = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        crops = warp_regions(image, [size_hw], boxes, rows, shape=self.shape)
        answers: list[EnsembleOutput] = [member(crops) for member in self.members]
        refinements = [answer.offsets for answer in answers if answer.offsets is not None]
        probabilities = mean_probabilities(torch.cat([answer.logits for answer in answers]))
        return probabilities, mean_offsets(torch.cat(refinements)) if refinements else None


@torch.no_grad()
def propose_regions(
    proposer: DetectionNetwork | None,
    images: Tensor,
    sizes: InputSizes,
    given: Sequence[Proposals] | None,
    settings: ProposalSettings,
) -> list[Proposals]:
    """The regions to judge: the proposer's, those given, or both. No gradient.

    Args:
        proposer: In evaluation mode; None where proposals are given.
        images: (B, 3, H, W) RGB from 0 to 255, uint8 or float32, padded.
        sizes: Of the B images.
        given: B lists of another method, in pixels of the input; None without one.
        settings: How many of the proposer's.

    Raises:
        ValueError: If there are neither.
    """
    if proposer is None:
        if given is None:
            raise ValueError("this network has no MultiBox; give it proposals")
        return list(given)
    pyramid = proposer.extract(images)
    assert proposer.multibox is not None, "what proposes has MultiBox"
    return proposer.propose(proposer.multibox(pyramid, sizes), sizes, given, settings)


def place_regions(boxes_per_image: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """B tensors (Ri, 4) -> all regions (R, 4), and the image of each (R,) int64 in [0, B)."""
    boxes = torch.cat(list(boxes_per_image))
    counts = torch.tensor([len(each) for each in boxes_per_image], device=boxes.device)
    return boxes, torch.repeat_interleave(torch.arange(len(counts), device=boxes.device), counts)


def join_members(networks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """State dicts of M networks with one member each and the same proposer -> that of one network with all of them."""
    joined = {name: tensor for name, tensor in networks[0].items() if name.startswith("proposer.")}
    for number, tensors in enumerate(networks):
        members = {name.removeprefix("members.0."): t for name, t in tensors.items() if name.startswith("members.0.")}
        joined |= {f"members.{number}.{name}": tensor for name, tensor in members.items()}
    return joined

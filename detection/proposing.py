"""The first stage of a detector alone: every proposal of an image, before any region is classified.

Legend: K priors, P proposals.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import Tensor

from detection.detector import Detector
from detection.preprocess import Image, original_boxes, padded_size, resize, resized_size, stack_images
from proposals.generator import generate_proposals
from proposals.structures import Proposals


class FirstStage:
    """Image in, proposals out, in pixels of the original image; the detector is used, not changed.

    Of the settings of inference only the overlap of the suppression stays: every prior enters it. Suppression goes down
    the scores, so what enters further down never changes which of the better boxes stay, and the first proposals are
    those that the detector uses.

    Args:
        detector: As ``load_detector`` gives it.
        max_proposals: Proposals of an image at most.
    """

    def __init__(self, detector: Detector, *, max_proposals: int) -> None:
        self.detector = detector
        usual = detector.network.proposal_settings
        self.settings = replace(usual, num_proposals=max_proposals, num_candidates=sys.maxsize)

    @torch.inference_mode()
    def propose(self, image: Image) -> Proposals:
        """(H, W, 3) uint8 RGB -> its proposals, on the CPU, best first."""
        size_hw, network = (image.shape[0], image.shape[1]), self.detector.network
        scaled_hw = resized_size(size_hw, self.detector.longest_side)
        batch = stack_images([resize(image, scaled_hw)]).to(self.detector.device)
        output = network.multibox_head(network.extract(batch))
        (found,) = generate_proposals(output, network.priors(batch), [scaled_hw], **vars(self.settings))
        return Proposals(original_boxes(found.boxes, scaled_hw, size_hw).cpu(), found.scores.cpu(), size_hw)

    @torch.inference_mode()
    def priors(self, size_hw: tuple[int, int]) -> Tensor:
        """Where the priors lie in an image of this size: (K, 4) xyxy in its pixels, not clipped to it."""
        scaled_hw = resized_size(size_hw, self.detector.longest_side)
        # The place of the priors depends on the shape of the batch alone.
        priors = self.detector.network.priors(torch.empty(0, 3, *padded_size(scaled_hw))).cpu()
        height, width = (side / scaled for side, scaled in zip(size_hw, scaled_hw, strict=True))
        return priors * torch.tensor([width, height, width, height])

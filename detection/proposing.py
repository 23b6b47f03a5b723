"""The first stage of a detector alone: every proposal of an image, before any region is classified.

Legend: K priors, P proposals.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import Tensor

from detection.detector import Detector
from detection.preprocess import Image, original_boxes, padded_size, resized_size, scale_and_stack
from proposals.generator import generate_proposals
from proposals.merging import merge_proposals
from proposals.multibox import InputSizes
from proposals.structures import Proposals


class FirstStage:
    """Image in, proposals out, in pixels of the original image; the detector is used, not changed.

    With MultiBox alone, all priors enter suppression. Suppression goes down the scores, so what enters further down
    never changes which of the better boxes stay, and the first proposals are those that the detector uses. Beside
    another method MultiBox gives as many as in use.

    Args:
        detector: As ``load_detector`` gives it.
        max_proposals: Proposals of an image at most.
    """

    def __init__(self, detector: Detector, *, max_proposals: int) -> None:
        self.detector = detector
        self.max_proposals = max_proposals
        usual = detector.network.proposal_settings
        alone = replace(usual, num_proposals=max_proposals, num_candidates=sys.maxsize)
        self.settings = alone if detector.regions is None else usual

    @property
    def has_priors(self) -> bool:
        """Whether some proposals are MultiBox's."""
        return self.detector.network.multibox is not None

    @torch.inference_mode()
    def propose(self, image: Image) -> Proposals:
        """(H, W, 3) uint8 RGB -> its proposals, on the CPU, best first."""
        regions = self.detector.regions
        given = None if regions is None else regions(image)
        found = self._learned(image) if self.has_priors else None
        if found is None or given is None:
            either = given if found is None else found  # not `or`: an image may have none
            assert either is not None
        else:
            either = merge_proposals(found, given)
        return either.best(self.max_proposals)

    def _learned(self, image: Image) -> Proposals:
        network = self.detector.network
        assert network.multibox is not None
        size_hw = image.shape[0], image.shape[1]
        scaled_hw = resized_size(size_hw, self.detector.longest_side)
        sizes = InputSizes(padded_size(scaled_hw), [scaled_hw])
        batch = scale_and_stack([image], [scaled_hw]).to(self.detector.device)
        output = network.multibox(network.extract(batch), sizes)
        (found,) = generate_proposals(network.multibox, output, sizes, self.settings)
        return Proposals(original_boxes(found.boxes, scaled_hw, size_hw).cpu(), found.scores.cpu(), size_hw)

    @torch.inference_mode()
    def priors(self, size_hw: tuple[int, int]) -> Tensor:
        """Where MultiBox's priors lie in an image of this size: (K, 4) xyxy in its pixels, not clipped to it."""
        multibox = self.detector.network.multibox
        assert multibox is not None
        scaled_hw = resized_size(size_hw, self.detector.longest_side)
        priors = multibox.priors(InputSizes(padded_size(scaled_hw), [scaled_hw])).cpu()
        height, width = (side / scaled for side, scaled in zip(size_hw, scaled_hw, strict=True))
        return priors * torch.tensor([width, height, width, height])

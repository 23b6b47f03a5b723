"""From a configuration to what several of the build modules need."""

from __future__ import annotations

from backbone.variant import Variant
from configs.schema import Config, VariantConfig
from proposals.generator import ProposalSettings


def build_variant(config: VariantConfig) -> Variant:
    """Which GoogLeNet."""
    return Variant(config.block, config.norm, config.five_kernel)


def proposal_settings(config: Config, num_proposals: int) -> ProposalSettings:
    """How the best of all boxes are chosen."""
    return ProposalSettings(num_proposals, config.proposals.candidates, config.proposals.nms_iou_threshold)

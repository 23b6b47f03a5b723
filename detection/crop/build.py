"""From a configuration to the parts of the crop form, and to the trainings that make them. Legend: C classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from backbone.googlenet import GoogLeNet
from configs.schema import Config
from configs.sections import Section
from detection.build_parts import build_variant, proposal_settings
from detection.crop.classifier import CropClassifier
from detection.crop.network import CropNetwork, propose_regions
from detection.crop.objective import CropObjective, CropObjectiveSettings
from detection.crop.warp import CropShape
from detection.network import DetectionNetwork, InferenceSettings
from detection.postprocess import DetectionSettings
from detection.roi_sampling import RoiSamplingSettings
from detection.schedule import cosine_schedule
from detection.training_task import BatchSource, TrainingTask

Part = TypeVar("Part", bound=Section)


class StageShares(NamedTuple):
    """Parts of a training's budget: of the proposals, 0 where none are learnt, and of each member."""

    proposer: float
    member: float


def stage_shares(config: Config) -> StageShares:
    """How the budget is split; proposer + members x member = 1."""
    crop = config.classifier.crop
    proposer = 0.0 if config.proposals.method == "selective-search" else crop.proposer_share
    return StageShares(proposer, (1 - proposer) / crop.members)


def proposer_config(config: Config) -> Config | None:
    """Configuration of the detector whose MultiBox proposes; None where nothing is learnt.

    It is a detector of the shared form that knows nothing of selective search: beside that method, too, MultiBox
    learns and proposes alone. Its classifier does no more than teach the features, so one look is enough.
    """
    method = config.proposals.method
    if method == "selective-search":
        return None
    alone = {"combined": "multibox", "combined-fc": "multibox-fc"}
    return _with(
        config,
        classifier=_with(config.classifier, form="shared", second_look=False),
        proposals=_with(config.proposals, method=alone.get(method, method)),
        train=_with(config.train, epochs=_epochs(config, stage_shares(config).proposer)),
    )


def member_config(config: Config, number: int) -> Config:
    """Configuration of a detector with one member, whose own training it describes.

    Args:
        config: Of the whole.
        number: Of the member, from 1; it has its own seed, and so its own start, order, views and regions.
    """
    train = _with(
        config.train,
        seed=member_seed(config.train.seed, number),
        epochs=_epochs(config, stage_shares(config).member),
        # Crops have one size, so small images would save nothing.
        low_resolution=_with(config.train.low_resolution, fraction=0.0),
    )
    return _with(config, classifier=with_members(config, 1).classifier, train=train)


def with_members(config: Config, members: int) -> Config:
    """The same with another number of members."""
    crop = _with(config.classifier.crop, members=members)
    return _with(config, classifier=_with(config.classifier, crop=crop))


def member_seed(seed: int, number: int) -> int:
    """A seed for a member; neighbouring seeds of a run have no member in common."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def build_member(config: Config, num_classes: int) -> CropClassifier:
    """A classifier with random weights, the same for the same seed; start weights of its backbone follow."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        backbone = GoogLeNet(variant=build_variant(config.backbone))
        return CropClassifier(backbone, num_classes, box_regression=config.classifier.box_regression)


def compose_network(
    config: Config, proposer: DetectionNetwork | None, members: Sequence[CropClassifier]
) -> CropNetwork:
    """The whole network. The objectness has no part in the score: it is the members' mean probability."""
    crop = config.classifier.crop
    detections = DetectionSettings(**{**config.postprocess.model_dump(), "objectness_power": 0.0})
    return CropNetwork(
        proposer,
        members,
        shape=CropShape(crop.side, crop.context),
        batch=crop.batch,
        inference=InferenceSettings(proposal_settings(config, config.proposals.num_detect), detections),
    )


def build_objective(config: Config, member: CropClassifier, proposer: DetectionNetwork | None) -> CropObjective:
    """Member and losses, ready to train.

    Args:
        config: Of the member.
        member: The classifier to train.
        proposer: In evaluation mode, on the device of the training; None where proposals are given.
    """
    c = config.classifier
    settings = CropObjectiveSettings(
        shape=CropShape(c.crop.side, c.crop.context),
        sampling=RoiSamplingSettings(c.crop.batch, c.crop.foreground_fraction, c.foreground_iou),
        weights=config.train.loss_weights.model_dump(),
    )
    in_training = proposal_settings(config, config.proposals.num_train)
    return CropObjective(member, partial(propose_regions, proposer, settings=in_training), settings)


def build_task(
    config: Config,
    member: CropClassifier,
    proposer: DetectionNetwork | None,
    *,
    source: BatchSource,
    optimizer: torch.optim.Optimizer,
) -> TrainingTask[CropClassifier]:
    """What a member learns from, and how; for the first arguments see ``build_objective``."""
    return TrainingTask(
        objective=build_objective(config, member, proposer),
        network=member,
        source=source,
        optimizer=optimizer,
        schedule=cosine_schedule(config.train.warmup_fraction),
    )


def _epochs(config: Config, share: float) -> int:
    """Passes over the images that a share of the budget comes to; at least one."""
    return max(1, round(config.train.epochs * share))


def _with(section: Part, **values: Any) -> Part:
    """The section with other values, which are known to be valid."""
    return section.model_copy(update=values)

"""From the configuration of a classifier's training to objects."""

from __future__ import annotations

import torch

from backbone.googlenet import GoogLeNet
from configs.pretraining import PretrainConfig
from detection import start_weights
from detection.build_parts import build_variant
from detection.classification.batches import ViewBatches
from detection.classification.objective import ClassificationObjective
from detection.classification.packed import PackedImages
from detection.data.augment import CropSettings
from detection.data.colour import ColourSettings
from detection.optimizers import make_optimizer, make_sgd
from detection.schedule import ResolutionPhase, cosine_schedule, paper_schedule
from detection.training_task import TrainingSettings, TrainingTask

CROP_MARGIN = 8 / 7
"""Shorter side of an image per side of its centre crop: 256 to 224 in the paper."""


def build_network(config: PretrainConfig, num_classes: int) -> GoogLeNet:
    """GoogLeNet with random weights, the same for the same seed."""
    n = config.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return GoogLeNet(num_classes, variant=build_variant(n), auxiliary=n.auxiliary, dropout=n.dropout)


def load_start_weights(config: PretrainConfig, network: GoogLeNet) -> None:
    """Fills the trunk from ``network.weights``, in place; the classifiers stay random, as their classes are new.

    Raises:
        InputError: If the weights cannot be had or do not fit.
    """
    if config.network.weights == "none":
        return
    trunk = GoogLeNet(variant=network.variant)
    start_weights.load_start_weights(trunk, config.network.weights, option="network.weights")
    network.load_state_dict(trunk.state_dict(), strict=False)


def build_objective(config: PretrainConfig, network: GoogLeNet) -> ClassificationObjective:
    """Network and losses, ready to train."""
    return ClassificationObjective(
        network, label_smoothing=config.train.label_smoothing, auxiliary_weight=config.network.auxiliary_weight
    )


def build_batches(config: PretrainConfig, packed: PackedImages) -> ViewBatches:
    """The training images, their random views and their order."""
    v, t = config.views, config.train
    settings = CropSettings(
        min_area=v.min_area,
        aspect=v.aspect,
        random_interpolation=v.interpolation == "random",
        horizontal_flip=v.horizontal_flip,
        colour=ColourSettings(v.brightness, v.contrast, v.saturation),
    )
    phases = tuple(ResolutionPhase(share, side) for share, side in config.input.sides)
    return ViewBatches(packed, settings, batch_size=t.batch_size, seed=t.seed, workers=t.workers, phases=phases)


def _build_optimizer(config: PretrainConfig, network: GoogLeNet, precision: torch.dtype) -> torch.optim.Optimizer:
    t = config.train
    if t.optimizer == "sgd":
        return make_sgd(network, learning_rate=t.learning_rate, weight_decay=t.weight_decay, momentum=t.momentum)
    return make_optimizer(
        t.optimizer,
        network,
        learning_rate=t.learning_rate,
        muon_learning_rate=t.muon_learning_rate,
        weight_decay=t.weight_decay,
        precision=precision,
    )


def build_task(
    config: PretrainConfig, network: GoogLeNet, packed: PackedImages, precision: torch.dtype
) -> TrainingTask[GoogLeNet]:
    """What a classifier learns from, and how."""
    t = config.train
    return TrainingTask(
        objective=build_objective(config, network),
        network=network,
        source=build_batches(config, packed),
        optimizer=_build_optimizer(config, network, precision),
        schedule=paper_schedule if t.schedule == "paper" else cosine_schedule(t.warmup_fraction),
    )


def training_settings(config: PretrainConfig) -> TrainingSettings:
    """The values that the training loop needs."""
    t = config.train
    return TrainingSettings(
        ema_decay=t.ema_decay,
        gradient_clip=t.gradient_clip,
        seed=t.seed,
        checkpoint_seconds=t.checkpoint_seconds,
        memory_options=("train.batch_size", "input.sides"),
    )


def last_side(config: PretrainConfig) -> int:
    """Side of the input at the end of the training."""
    return config.input.sides[-1][1]


def stored_side(config: PretrainConfig) -> int:
    """Shorter side of the images that are kept."""
    return config.input.stored_side or round(last_side(config) * CROP_MARGIN)

"""From a configuration to the training of a detector: what it learns from, by which losses, with which optimizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from backbone.googlenet import GoogLeNet
from backbone.rescaling import rescale_like_fresh
from configs.schema import Config
from detection import start_weights
from detection.build_parts import build_variant, proposal_settings
from detection.crop.classifier import CropClassifier
from detection.data.augment import Augmentation, AugmentSettings
from detection.data.colour import ColourSettings
from detection.data.image_cache import ImageCache
from detection.data.loader import DetectionBatches, TrainingSet, ViewOdds
from detection.data.records import ImageRecord
from detection.errors import InputError
from detection.losses import ObjectiveSettings, TrainingObjective
from detection.network import DetectionNetwork
from detection.optimizers import make_optimizer, scale_learning_rate
from detection.processes import ALONE, Place
from detection.regions import RegionSource
from detection.roi_sampling import RoiSamplingSettings
from detection.schedule import cosine_schedule, low_resolution_phases, sides_around
from detection.training_task import TrainingSettings, TrainingTask

ENOUGH_STEPS = 1500
"""Steps that a training needs at least to get mosaics and crops (docs/decisions.md, 49)."""

MEMORY_OPTIONS = ("train.batch_size", "input.longest_side", "classifier.rois_per_image")
"""Options to lower where a training of the shared form runs short of memory."""

PRETRAINED_RATE = 0.3
"""Learning rate of a backbone with start weights, as a multiple of the others' (docs/decisions.md, 39)."""


def build_objective(config: Config, network: DetectionNetwork) -> TrainingObjective:
    """Network and losses, ready to train."""
    p, c = config.proposals, config.classifier
    settings = ObjectiveSettings(
        proposal_settings=proposal_settings(config, p.num_train),
        sampling=RoiSamplingSettings(c.rois_per_image, c.foreground_fraction, c.foreground_iou),
        sample_fraction=c.sample_fraction,
        weights=config.train.loss_weights.model_dump(),
    )
    return TrainingObjective(network, settings)


def build_batches(
    config: Config, records: Sequence[ImageRecord], regions: RegionSource | None = None, place: Place = ALONE
) -> DetectionBatches:
    """The training images, their random views, their cache and their order; a part of each batch for every process.

    Raises:
        InputError: If there are fewer images than the batches of all processes hold.
    """
    if place.processes > 1 and len(records) < config.train.batch_size * place.processes:
        raise InputError(
            f"{len(records)} images do not fill a batch of {config.train.batch_size} on each of {place.processes} "
            f"processes; lower train.batch_size or start fewer processes"
        )
    a, t = config.augment, config.train
    readers = max(1, t.workers)
    largest_side = sides_around(config.input.longest_side, t.multi_scale)[-1]
    cache = ImageCache(largest_side, t.cache_mb * 2**20 // readers, regions)
    colour = ColourSettings(a.brightness, a.contrast, a.saturation, a.hue)
    augmentation = Augmentation(AugmentSettings(a.horizontal_flip, a.vertical_flip or 0.0, a.scale, colour))
    phases = low_resolution_phases(
        config.input.longest_side, fraction=t.low_resolution.fraction, scale=t.low_resolution.scale
    )
    return DetectionBatches(
        TrainingSet(records, augmentation, cache),
        batch_size=t.batch_size,
        seed=t.seed,
        workers=t.workers,
        phases=phases,
        multi_scale=t.multi_scale,
        odds=ViewOdds(a.mosaic, a.iou_crop),
        many_epochs=a.many_epochs,
        enough_steps=ENOUGH_STEPS,
        mosaic_until=a.mosaic_until,
        place=place,
    )


def build_plain_views(
    config: Config, records: Sequence[ImageRecord], regions: RegionSource | None = None
) -> TrainingSet:
    """Images as they are, read anew each time: what a validation part is learnt about, never from."""
    still = Augmentation(AugmentSettings(0.0, 0.0, (1.0, 1.0), ColourSettings(0.0, 0.0, 0.0)))
    return TrainingSet(records, still, ImageCache(config.input.longest_side, 0, regions))


def build_task(
    config: Config, network: DetectionNetwork, source: DetectionBatches, precision: torch.dtype
) -> TrainingTask[DetectionNetwork]:
    """What a detector learns from, and how."""
    return TrainingTask(
        objective=build_objective(config, network),
        network=network,
        source=source,
        optimizer=build_optimizer(config, network, precision),
        schedule=cosine_schedule(config.train.warmup_fraction),
    )


def build_optimizer(
    config: Config, network: DetectionNetwork | CropClassifier, precision: torch.dtype
) -> torch.optim.Optimizer:
    """The optimizer of everything that learns in a run."""
    t = config.train
    optimizer = make_optimizer(
        t.optimizer,
        network,
        learning_rate=t.learning_rate,
        muon_learning_rate=t.muon_learning_rate,
        weight_decay=t.weight_decay,
        precision=precision,
    )
    scale_learning_rate(optimizer, network.backbone, _backbone_rate(config))
    return optimizer


def _backbone_rate(config: Config) -> float:
    """Weights learnt before get a rate of their own: at that of new ones they would be forgotten."""
    if config.train.backbone_rate is not None:
        return config.train.backbone_rate
    return 1.0 if config.backbone.weights == "none" else PRETRAINED_RATE


def training_settings(config: Config, memory_options: tuple[str, ...] = MEMORY_OPTIONS) -> TrainingSettings:
    """The values that the training loop needs, and the options that lower what memory it takes."""
    t = config.train
    return TrainingSettings(
        ema_decay=t.ema_decay,
        gradient_clip=t.gradient_clip,
        seed=t.seed,
        checkpoint_seconds=t.checkpoint_seconds,
        memory_options=memory_options,
    )


def build_start_backbone(config: Config) -> GoogLeNet:
    """The backbone alone with the weights that a training starts from, in evaluation mode.

    Raises:
        InputError: If the weights cannot be had or do not fit.
    """
    backbone = GoogLeNet(variant=build_variant(config.backbone))
    start_weights.load_start_weights(backbone, config.backbone.weights, option="backbone.weights")
    return backbone.eval()


def load_start_weights(config: Config, network: DetectionNetwork | CropClassifier) -> None:
    """Fills the backbone from ``backbone.weights``, in place, each layer at the size that it learns well at.

    Raises:
        InputError: If the weights cannot be had or do not fit.
    """
    start_weights.load_start_weights(network.backbone, config.backbone.weights, option="backbone.weights")
    if config.backbone.weights != "none":
        rescale_like_fresh(network.backbone)

"""From a configuration to objects: the only reader of configs among the libraries.

Legend: C classes, L pyramid levels, A priors per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbone.googlenet import GoogLeNet, Stage
from backbone.variant import Variant
from backbone.weights import load_backbone_weights
from configs.load import config_from_dict
from configs.schema import Config
from detection.checkpoint import load_model
from detection.data.augment import Augmentation, AugmentSettings
from detection.data.loader import DetectionBatches, ImageCache, TrainingSet
from detection.data.records import ImageRecord
from detection.detector import Detector
from detection.device import choose_device, choose_precision
from detection.engine import TrainingSettings, TrainingTask
from detection.errors import InputError
from detection.losses import ObjectiveSettings, TrainingObjective
from detection.network import DetectionNetwork, InferenceSettings, ProposalSettings
from detection.optimizers import make_adamw
from detection.postprocess import DetectionSettings
from detection.preprocess import resized_size
from detection.roi_classifier import RoiClassifier, RoiClassifierSettings
from detection.roi_sampling import RoiSamplingSettings
from detection.schedule import cosine_schedule, low_resolution_phases
from proposals.multibox_head import MultiBoxHead
from proposals.priors import fallback_sizes, fit_prior_sizes
from proposals.pyramid import FeaturePyramid

PYRAMID_STRIDES = (8, 16, 32)


def pyramid_stages(backbone: GoogLeNet) -> tuple[Stage, ...]:
    """The last stage of each stride of the pyramid."""
    last = {stage.stride: stage for stage in backbone.stages}
    return tuple(last[stride] for stride in PYRAMID_STRIDES)


def build_network(config: Config, num_classes: int, prior_sizes: Tensor | None = None) -> DetectionNetwork:
    """Composes a network with random weights, the same for the same seed; ``load_start_weights`` follows.

    Args:
        config: What to build.
        num_classes: C.
        prior_sizes: (L, A, 2) pixels of the input; None lays placeholders that loading a model overwrites.
    """
    per_cell = config.proposals.priors_per_level
    if prior_sizes is None:
        prior_sizes = fallback_sizes(PYRAMID_STRIDES, per_cell)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        backbone = GoogLeNet(variant=_variant(config))
        pyramid = FeaturePyramid(pyramid_stages(backbone), config.pyramid.channels)
        head = MultiBoxHead(
            config.pyramid.channels,
            num_levels=len(PYRAMID_STRIDES),
            priors_per_cell=per_cell,
            depth=config.proposals.tower_depth,
        )
        classifier = _build_classifier(config, num_classes)
    return DetectionNetwork(
        backbone,
        pyramid,
        multibox_head=head,
        classifier=classifier,
        prior_sizes=prior_sizes,
        inference=InferenceSettings(
            _proposal_settings(config, config.proposals.num_detect),
            DetectionSettings(**config.postprocess.model_dump()),
        ),
    )


def _variant(config: Config) -> Variant:
    b = config.backbone
    return Variant(b.block, b.norm, b.five_kernel)


def _build_classifier(config: Config, num_classes: int) -> RoiClassifier:
    c = config.classifier
    settings = RoiClassifierSettings(
        members=c.members,
        contexts=c.contexts,
        pool_size=c.pool_size,
        hidden=c.hidden,
        member_hidden=c.member_hidden,
        box_regression=c.box_regression,
    )
    return RoiClassifier(config.pyramid.channels, num_classes, strides=PYRAMID_STRIDES, settings=settings)


def _proposal_settings(config: Config, num_proposals: int) -> ProposalSettings:
    return ProposalSettings(num_proposals, config.proposals.candidates, config.proposals.nms_iou_threshold)


def build_objective(config: Config, network: DetectionNetwork) -> TrainingObjective:
    """Network and losses, ready to train."""
    p, c = config.proposals, config.classifier
    settings = ObjectiveSettings(
        proposal_settings=_proposal_settings(config, p.num_train),
        positive_iou=p.positive_iou,
        min_matches=p.min_matches,
        sampling=RoiSamplingSettings(c.rois_per_image, c.foreground_fraction, c.foreground_iou),
        sample_fraction=c.sample_fraction,
        weights=config.train.loss_weights.model_dump(),
    )
    return TrainingObjective(network, settings)


def build_batches(config: Config, records: Sequence[ImageRecord]) -> DetectionBatches:
    """The training images, their random views, their cache and their order."""
    t = config.train
    processes = max(1, t.workers)
    cache = ImageCache(longest_side=config.input.longest_side, max_bytes=t.cache_mb * 2**20 // processes)
    augmentation = Augmentation(AugmentSettings(**config.augment.model_dump()))
    phases = low_resolution_phases(
        config.input.longest_side, fraction=t.low_resolution.fraction, scale=t.low_resolution.scale
    )
    training_set = TrainingSet(records, augmentation, cache)
    return DetectionBatches(training_set, batch_size=t.batch_size, seed=t.seed, workers=t.workers, phases=phases)


def build_task(
    config: Config, network: DetectionNetwork, records: Sequence[ImageRecord]
) -> TrainingTask[DetectionNetwork]:
    """What a detector learns from, and how."""
    t = config.train
    return TrainingTask(
        objective=build_objective(config, network),
        network=network,
        source=build_batches(config, records),
        optimizer=make_adamw(network, learning_rate=t.learning_rate, weight_decay=t.weight_decay),
        schedule=cosine_schedule(t.warmup_fraction),
    )


def training_settings(config: Config) -> TrainingSettings:
    """The values that the training loop needs."""
    t = config.train
    return TrainingSettings(
        ema_decay=t.ema_decay, gradient_clip=t.gradient_clip, seed=t.seed, checkpoint_seconds=t.checkpoint_seconds
    )


def fit_priors(config: Config, records: Sequence[ImageRecord]) -> Tensor:
    """Priors for these training images at this input size: (L, A, 2) pixels of the input."""
    return fit_prior_sizes(
        _box_sizes(records, config.input.longest_side),
        strides=PYRAMID_STRIDES,
        priors_per_level=config.proposals.priors_per_level,
        seed=config.train.seed,
    )


def _box_sizes(records: Sequence[ImageRecord], longest_side: int) -> npt.NDArray[np.float32]:
    """Widths and heights (N, 2) of all objects as the network will see them."""
    sizes = [np.zeros((0, 2), dtype=np.float32)]
    for record in records:
        height, width = resized_size(record.size_hw, longest_side)
        boxes = record.boxes[~record.ignore]
        scale = np.array([width / record.size_hw[1], height / record.size_hw[0]], dtype=np.float32)
        sizes.append((boxes[:, 2:] - boxes[:, :2]) * scale)
    return np.concatenate(sizes)


def load_start_weights(config: Config, network: DetectionNetwork) -> None:
    """Fills the backbone from ``backbone.weights``, in place.

    Raises:
        InputError: If the weights cannot be had or do not fit.
    """
    try:
        load_backbone_weights(network.backbone, config.backbone.weights)
    except (ValueError, OSError) as error:
        raise InputError(f"backbone.weights: {error}") from error


def load_detector(path: Path, *, device: str = "auto", precision: str = "auto") -> Detector:
    """Reads a model file and composes the detector it describes.

    Args:
        path: ``model.safetensors`` of a run.
        device: See ``choose_device``.
        precision: See ``choose_precision``.

    Raises:
        InputError: If the file is missing, damaged, or not a model.
    """
    tensors, header = load_model(path)
    try:
        config = config_from_dict(header.config, schema=Config)
        network = build_network(config, len(header.class_names))
        network.load_state_dict(tensors)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: weights and header do not fit together: {error}") from error
    chosen = choose_device(device)
    detector = Detector(
        network,
        class_names=header.class_names,
        category_ids=header.category_ids,
        longest_side=config.input.longest_side,
        device=chosen,
        precision=choose_precision(chosen, precision),
    )
    detector.prepare()
    return detector

"""From a configuration to a detector.

Legend: C classes, L pyramid levels, A priors per cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbone.googlenet import GoogLeNet
from configs.load import config_from_dict
from configs.schema import GLOBAL_METHODS, SEARCHED_METHODS, Config
from detection.build_parts import build_variant, proposal_settings
from detection.calibration import Calibration
from detection.checkpoint import load_model
from detection.crop import build as crop
from detection.crop.network import CropNetwork
from detection.data.box_sizes import box_sizes, boxes_in_image_units
from detection.data.records import ImageRecord
from detection.detector import Detector
from detection.device import choose_compute
from detection.errors import InputError
from detection.network import DetectionNetwork, InferenceSettings
from detection.postprocess import DetectionSettings
from detection.regions import RegionSource, SelectiveSearch
from detection.roi_classifier import RoiClassifier, RoiClassifierSettings
from proposals.global_head import GlobalMultiBoxHead
from proposals.global_priors import fit_global_priors
from proposals.multibox import ConvolutionalMultiBox, GlobalMultiBox, MultiBox
from proposals.multibox_head import MultiBoxHead
from proposals.priors import fit_prior_sizes
from proposals.pyramid import FeaturePyramid
from proposals.selective_search import FAST, QUALITY, SINGLE

PYRAMID_STRIDES = (8, 16, 32)
"""Strides of the levels on which objects are searched for; regions are pooled from ``pyramid.finest_stride`` on."""

ENTRY_SUPERPIXEL_SCALE = 2.0
"""Doubled superpixels, as the entry of 2014 had them beside MultiBox (1409.4842, section 8)."""

ENTRY_MULTIBOX = 200
"""Boxes of MultiBox that the entry added."""


def _build_pyramid(config: Config, backbone: GoogLeNet) -> FeaturePyramid:
    """Over the last stage of each stride."""
    last = {stage.stride: stage for stage in backbone.stages}
    fine = last[config.pyramid.finest_stride] if config.pyramid.finest_stride < PYRAMID_STRIDES[0] else None
    return FeaturePyramid([last[stride] for stride in PYRAMID_STRIDES], config.pyramid.channels, fine=fine)


def _region_strides(config: Config) -> tuple[int, ...]:
    """Strides of the levels that regions are pooled from."""
    return tuple(sorted({config.pyramid.finest_stride, *PYRAMID_STRIDES}))


def build_network(config: Config, num_classes: int, priors: Tensor | None = None) -> DetectionNetwork:
    """Composes a network with random weights, the same for the same seed; ``load_start_weights`` follows.

    Args:
        config: What to build.
        num_classes: C.
        priors: From ``fit_priors``; None lays placeholders that loading a model overwrites.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        backbone = GoogLeNet(variant=build_variant(config.backbone))
        pyramid = _build_pyramid(config, backbone)
        multibox = _build_multibox(config, fit_priors(config, ()) if priors is None else priors)
        classifier = _build_classifier(config, num_classes)
        second_look = _build_classifier(config, num_classes) if _looks_twice(config) else None
    return DetectionNetwork(
        backbone,
        pyramid,
        multibox=multibox,
        classifier=classifier,
        second_look=second_look,
        inference=InferenceSettings(
            proposal_settings(config, config.proposals.num_detect), _detection_settings(config)
        ),
    )


def build_whole_network(config: Config, num_classes: int) -> DetectionNetwork | CropNetwork:
    """The network that a model file of this configuration holds, in either form, with random weights."""
    if config.classifier.form == "shared":
        return build_network(config, num_classes)
    of_proposer = crop.proposer_config(config)
    proposer = None if of_proposer is None else build_network(of_proposer, num_classes)
    members = [crop.build_member(config, num_classes) for _ in range(config.classifier.crop.members)]
    return crop.compose_network(config, proposer, members)


def _build_multibox(config: Config, priors: Tensor) -> MultiBox | None:
    p = config.proposals
    channels = config.pyramid.channels
    if p.method == "selective-search":
        return None
    if p.method in GLOBAL_METHODS:
        g = p.global_multibox
        global_head = GlobalMultiBoxHead(
            channels, stride=PYRAMID_STRIDES[-1], num_priors=g.num_priors, hidden=g.hidden, dropout=g.dropout
        )
        return GlobalMultiBox(global_head, priors, alpha=g.alpha, match_to=g.match_to)
    head = MultiBoxHead(
        channels, num_levels=len(PYRAMID_STRIDES), priors_per_cell=p.priors_per_level, depth=p.tower_depth
    )
    return ConvolutionalMultiBox(
        head, priors, strides=PYRAMID_STRIDES, positive_iou=p.positive_iou, min_matches=p.min_matches
    )


def build_regions(config: Config, cache: Path | None) -> RegionSource | None:
    """The source of proposals that are not the network's own; None where none are needed.

    Args:
        config: What to build.
        cache: Folder to keep them in; None keeps nothing.
    """
    p = config.proposals
    if p.method not in SEARCHED_METHODS:
        return None
    s, modes = p.selective_search, {"single": SINGLE, "fast": FAST, "quality": QUALITY}
    scale = s.superpixel_scale or (1.0 if p.method == "selective-search" else ENTRY_SUPERPIXEL_SCALE)
    settings = replace(modes[s.mode], superpixel_scale=scale, min_side=s.min_side)
    return SelectiveSearch(settings, max_boxes=s.max_boxes, cache=cache)


def _detection_settings(config: Config) -> DetectionSettings:
    """The score takes the objectness only where it is learnt for every proposal; a rank says nothing of an object."""
    settings = DetectionSettings(**config.postprocess.model_dump())
    return replace(settings, objectness_power=0.0) if config.proposals.method in SEARCHED_METHODS else settings


def _looks_twice(config: Config) -> bool:
    """Regions that are not refined do not move, so there is nothing to look at again."""
    return config.classifier.second_look and config.classifier.box_regression


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
    return RoiClassifier(config.pyramid.channels, num_classes, strides=_region_strides(config), settings=settings)


def fit_priors(config: Config, records: Sequence[ImageRecord]) -> Tensor:
    """Priors for these training images: sizes (L, A, 2) in pixels of the input, or whole boxes (K, 4) in its units.

    Without records they are placeholders of the right shape.
    """
    p = config.proposals
    if p.method in GLOBAL_METHODS:
        return fit_global_priors(
            boxes_in_image_units(records), num_priors=p.global_multibox.num_priors, seed=config.train.seed
        )
    return fit_prior_sizes(
        box_sizes(records, config.input.longest_side),
        strides=PYRAMID_STRIDES,
        priors_per_level=p.priors_per_level,
        seed=config.train.seed,
    )


def load_detector(
    path: Path, *, device: str = "auto", precision: str = "auto", cache: Path | None = None, prepare: bool = True
) -> Detector:
    """Reads a model file and composes the detector it describes.

    Args:
        path: ``model.safetensors`` of a run.
        device: See ``choose_device``.
        precision: See ``choose_precision``.
        cache: Folder for proposals that are not the network's own; None keeps none.
        prepare: Whether to make it as fast as it gets; if not, its modules are those that were trained.

    Raises:
        InputError: If the file is missing, damaged, or not a model.
    """
    tensors, header = load_model(path)
    try:
        config = config_from_dict(_as_of_its_time(header.config), schema=Config)
        network = build_whole_network(config, len(header.class_names))
        network.load_state_dict(tensors)
        entry = header.calibration
        calibration = None if entry is None else Calibration.from_header(entry, header.class_names)
    except (ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{path}: weights and header do not fit together: {error}") from error
    detector = Detector(
        network,
        class_names=header.class_names,
        category_ids=header.category_ids,
        longest_side=config.input.longest_side,
        compute=choose_compute(device, precision),
        regions=build_regions(config, cache),
    )
    detector.calibration = calibration
    if prepare:
        detector.prepare()
    return detector


def _as_of_its_time(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Older models, whose configurations do not name these values, pool from stride 8 on and look once."""
    then: dict[str, dict[str, Any]] = {"pyramid": {"finest_stride": 8}, "classifier": {"second_look": False}}
    sections = ((name, values, config.get(name)) for name, values in then.items())
    known = {name: {**values, **section} for name, values, section in sections if isinstance(section, Mapping)}
    return {**config, **known}

"""Values that were given and have no effect: reported, so that nobody tunes a knob that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from configs.pretraining import PretrainConfig
from configs.schema import GLOBAL_METHODS, SEARCHED_METHODS, Config

SIDE_STEP = 32
"""Sides of the input are multiples of the largest stride."""

_CONVOLUTIONAL = ("priors_per_level", "tower_depth", "positive_iou", "min_matches")
_LEARNED = ("nms_iou_threshold", "candidates", "num_train", "num_detect")
_SHARED = (
    *("members", "contexts", "pool_size", "hidden", "member_hidden", "sample_fraction"),
    *("rois_per_image", "foreground_fraction"),
)


class _Rule(NamedTuple):
    """These values, or all below a section, are idle where the condition holds."""

    names: tuple[str, ...]
    idle: Callable[[Config], bool]
    reason: str


def _proposals(*names: str) -> tuple[str, ...]:
    return tuple(f"proposals.{name}" for name in names)


_RULES = (
    _Rule(
        _proposals(*_CONVOLUTIONAL),
        lambda c: c.proposals.method in (*GLOBAL_METHODS, "selective-search"),
        "is for proposals.method multibox and combined",
    ),
    _Rule(
        (*_proposals(*_LEARNED), "train.loss_weights.proposal_objectness", "train.loss_weights.proposal_box"),
        lambda c: c.proposals.method == "selective-search",
        "is for proposals that are learnt",
    ),
    _Rule(
        _proposals("global_multibox"),
        lambda c: c.proposals.method not in GLOBAL_METHODS,
        "is for proposals.method multibox-fc and combined-fc",
    ),
    _Rule(
        _proposals("selective_search"),
        lambda c: c.proposals.method not in SEARCHED_METHODS,
        "is for proposals.method selective-search, combined and combined-fc",
    ),
    _Rule(
        ("postprocess.nms_iou_threshold",),
        lambda c: c.postprocess.nms_sigma is not None,
        "is for postprocess.nms_sigma null",
    ),
    _Rule(
        ("postprocess.objectness_power",),
        lambda c: c.proposals.method in SEARCHED_METHODS,
        "is for objectness that is learnt for every proposal; ranks of selective search have no part in the score",
    ),
    _Rule(
        ("postprocess.objectness_power",),
        lambda c: c.classifier.form == "crop" and c.proposals.method not in SEARCHED_METHODS,
        "is for classifier.form shared; in the crop form the members alone make the score",
    ),
    _Rule(("classifier.second_look",), lambda c: c.classifier.form == "crop", "is for classifier.form shared"),
    _Rule(("classifier.crop",), lambda c: c.classifier.form == "shared", "is for classifier.form crop"),
    _Rule(
        ("pyramid", *(f"classifier.{name}" for name in _SHARED), "classifier.crop.proposer_share"),
        lambda c: c.classifier.form == "crop" and c.proposals.method == "selective-search",
        "is for the network that proposes, and selective search needs none",
    ),
    _Rule(
        ("train.low_resolution",),
        lambda c: c.classifier.form == "crop" and c.proposals.method == "selective-search",
        "is for classifier.form shared and for proposals that are learnt: crops have one size",
    ),
    _Rule(
        ("train.loss_weights.region_box", "classifier.second_look"),
        lambda c: not c.classifier.box_regression,
        "is for classifier.box_regression true",
    ),
    _Rule(
        ("train.multi_scale",),
        lambda c: 0 < c.train.multi_scale * c.input.longest_side < SIDE_STEP,
        f"comes to less than {SIDE_STEP} pixels, in which sides are counted",
    ),
    _Rule(("train.muon_learning_rate",), lambda c: c.train.optimizer != "muon", "is for train.optimizer muon"),
    _Rule(
        ("backbone.five_kernel",),
        lambda c: c.backbone.block == "factorized",
        "is for the other blocks; factorized has no 5x5 kernel",
    ),
    _Rule(("augment.mosaic_until",), lambda c: c.augment.mosaic == 0, "is for augment.mosaic above 0"),
    _Rule(
        ("augment.many_epochs",),
        lambda c: c.augment.mosaic == c.augment.iou_crop == 0,
        "is for augment.mosaic or augment.iou_crop above 0",
    ),
    _Rule(
        ("train.low_resolution.scale",),
        lambda c: c.train.low_resolution.fraction == 0,
        "is for train.low_resolution.fraction above 0",
    ),
)


class _RecipeRule(NamedTuple):
    """The same for a classifier's training."""

    names: tuple[str, ...]
    idle: Callable[[PretrainConfig], bool]
    reason: str


_RECIPE_RULES = (
    _RecipeRule(("train.muon_learning_rate",), lambda c: c.train.optimizer != "muon", "is for train.optimizer muon"),
    _RecipeRule(("train.momentum",), lambda c: c.train.optimizer != "sgd", "is for train.optimizer sgd"),
    _RecipeRule(("train.warmup_fraction",), lambda c: c.train.schedule == "paper", "is for train.schedule cosine"),
    _RecipeRule(
        ("network.auxiliary_weight",), lambda c: not c.network.auxiliary, "is for network.auxiliary classifiers"
    ),
    _RecipeRule(
        ("network.five_kernel",),
        lambda c: c.network.block == "factorized",
        "is for the other blocks; factorized has no 5x5 kernel",
    ),
)


def unused_values(config: Config | PretrainConfig, given: Collection[str]) -> list[str]:
    """Says which given values have no effect beside the others.

    Args:
        config: The whole configuration.
        given: Dotted names of the values that do not come from the defaults.

    Returns:
        One line each, in the order of the rules; empty if all have an effect.
    """
    idle: list[tuple[tuple[str, ...], str]]
    if isinstance(config, PretrainConfig):
        idle = [(rule.names, rule.reason) for rule in _RECIPE_RULES if rule.idle(config)]
    else:
        idle = [(rule.names, rule.reason) for rule in _RULES if rule.idle(config)]
    return [
        f"{name} has no effect here: it {reason}"
        for names, reason in idle
        for name in given
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in names)
    ]

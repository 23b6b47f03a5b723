"""The upside-down flip of a training that leaves it open: tried out before the first step, then kept with the run."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from configs.schema import Config
from detection.build_training import build_start_backbone
from detection.data.records import DetectionData
from detection.flip_trial import MOST_IMAGES, FlipTrial, cut_objects, try_upside_down
from tools.progress import counting
from tools.run_folder import read_config

FLIPPED = 0.5
"""Probability of the flip where objects bear it."""


def settle_flip(config: Config, data: DetectionData, out: Path, console: Console) -> Config:
    """Gives ``augment.vertical_flip`` a number where it is null.

    Args:
        config: The resolved configuration.
        data: What to learn from.
        out: Folder of the run; if it holds one, that keeps its number.
        console: Where to say what came of it.

    Raises:
        InputError: If the start weights cannot be had.
    """
    if config.augment.vertical_flip is not None:
        return config
    kept = read_config(out, Config)
    if kept is not None:
        return _with_flip(config, kept.augment.vertical_flip or 0.0)
    if config.backbone.weights == "none":
        return _with_flip(config, 0.0)  # features that have learnt nothing tell nothing
    with counting(console, min(len(data.images), MOST_IMAGES), "looking at objects upside down") as advance:
        crops = cut_objects(data.images, len(data.class_names), advance)
    if not crops.say_something:
        return _with_flip(config, 0.0)
    trial = try_upside_down(build_start_backbone(config), crops)
    console.print(describe_trial(trial))
    return _with_flip(config, FLIPPED if trial.is_passed else 0.0)


def describe_trial(trial: FlipTrial) -> str:
    """What came of it and what follows, for the terminal."""
    found = f"upside down, {trial.num_objects} objects are told {max(trial.share, 0):.0%} as surely as upright"
    if trial.is_passed:
        return f"{found}: half of the views are flipped (--set augment.vertical_flip=0 for none)"
    return f"{found}: no view is flipped (--set augment.vertical_flip=0.5 for half of them)"


def _with_flip(config: Config, probability: float) -> Config:
    return config.model_copy(update={"augment": config.augment.model_copy(update={"vertical_flip": probability})})

"""The upside-down flip of a training that leaves it open: tried out before the first step, then kept with the run."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from configs.schema import Config
from detection.build_training import build_start_backbone
from detection.data.records import DetectionData
from detection.flip_trial import AS_SURE, MOST_IMAGES, FlipTrial, cut_objects, try_upside_down
from detection.processes import first_and_any
from tools.following import start_accelerator
from tools.progress import counting
from tools.run_folder import is_first, read_config, refuse_used

FLIPPED = 0.5
"""Probability of the flip where objects bear it."""


def settle_flip(config: Config, data: DetectionData, out: Path, console: Console, *, resume: bool) -> Config:
    """Gives ``augment.vertical_flip`` a number where it is null.

    Args:
        config: The resolved configuration.
        data: What to learn from.
        out: Folder of the run; one that goes on keeps its number.
        console: Where to say what came of it.
        resume: Whether a run that the folder holds goes on.

    Raises:
        InputError: If the start weights or the device cannot be had, or the folder holds a run that does not go on.
    """
    if config.augment.vertical_flip is not None:
        return config
    if is_first():
        refuse_used(out, resume=resume)
    kept = read_config(out, Config)
    if kept is not None:
        return _with_flip(config, kept.augment.vertical_flip)
    # Upside down is mirrored too; and features that have learnt nothing tell nothing.
    if config.augment.horizontal_flip == 0 or config.backbone.weights == "none":
        return _with_flip(config, 0.0)
    accelerator, _ = start_accelerator(config.train.device, config.train.precision)
    found = _find_flip(config, data, console) if is_first() else 0.0
    return _with_flip(config, first_and_any(found, False, accelerator.device)[0])


def _find_flip(config: Config, data: DetectionData, console: Console) -> float:
    with counting(console, min(len(data.images), MOST_IMAGES), "looking at objects upside down") as advance:
        crops = cut_objects(data.images, len(data.class_names), advance)
    if not crops.say_something:
        console.print("too few objects or images to try them upside down: no view is flipped")
        return 0.0
    trial = try_upside_down(build_start_backbone(config), crops)
    console.print(describe_trial(trial))
    return FLIPPED if trial.is_passed else 0.0


def describe_trial(trial: FlipTrial) -> str:
    """What came of it and what follows, for the terminal."""
    if trial.share is None:
        return f"the start weights do not tell {trial.num_objects} objects apart: no view is flipped upside down"
    found = f"upside down, {trial.num_objects} objects are told {max(trial.share, 0):.0%} as surely as upright"
    if trial.is_passed:
        return f"{found}: half of the views are flipped (--set augment.vertical_flip=0 for none)"
    if trial.share >= AS_SURE:
        found += ", but too few or not all of them to be sure"
    return f"{found}: no view is flipped (--set augment.vertical_flip=0.5 for half of them)"


def _with_flip(config: Config, probability: float | None) -> Config:
    return config.model_copy(update={"augment": config.augment.model_copy(update={"vertical_flip": probability})})

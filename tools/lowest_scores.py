"""From which score on a detection is in results for people: one for all classes, or those that a model brings along."""

from __future__ import annotations

import math

from rich.console import Console
from torch import Tensor

from detection.calibration import BEST, PRECISE, THRESHOLDS, lowest_scores
from detection.data.raw import first_names
from detection.errors import InputError
from detection.image_detector import ModelDetector

LOWEST_SCORE = 0.3
"""Of classes for which nobody has said anything else."""


def choose_lowest_scores(
    console: Console,
    model: ModelDetector,
    *,
    threshold: float | None,
    kind: str | None,
    alone: bool,
    needed: bool,
) -> Tensor:
    """The lowest score of each class, and a line to the user where it is not one that was named.

    Args:
        console: Where to tell.
        model: The first model.
        threshold: What the user wants of all classes, or of those for which the model has no threshold.
        kind: Which of the model's own the user wants; with neither, a calibrated model has its best.
        alone: Whether this model answers by itself and in one pass: its thresholds hold for nothing else.
        needed: Whether there will be results for people.

    Returns:
        (C,) float32; above 1 for a class of which nothing is kept.

    Raises:
        InputError: If the kind is unknown, or the model was not calibrated, or it does not answer alone.
    """
    if kind is not None:
        _refuse_kind(model, kind, alone=alone)
    if not needed:
        if threshold is not None or kind is not None:
            console.print(
                "note: thresholds have no effect here: detections.json holds every score; they are for csv, yolo, voc "
                "and pictures (--formats csv, --images)"
            )
    elif threshold is None and kind is None and BEST in model.thresholds:
        if alone:
            kind = BEST
        else:
            console.print(
                f"lowest score: {LOWEST_SCORE}; the thresholds of a calibrated model hold for itself alone in one pass"
            )
    missing = threshold
    if missing is None:  # a class that is never precise enough has nothing to show where precision was asked for
        missing = math.inf if kind == PRECISE else LOWEST_SCORE
    if needed and kind is not None:
        console.print(_told(model, kind, missing))
    return lowest_scores([None] * len(model.class_names) if kind is None else model.thresholds[kind], missing=missing)


def _refuse_kind(model: ModelDetector, kind: str, *, alone: bool) -> None:
    if kind not in THRESHOLDS:
        raise InputError(f"--thresholds: {kind} is not known; choose from {', '.join(THRESHOLDS)}")
    if not alone:
        raise InputError("--thresholds: they hold for one model in one pass; leave out --tile, --tta and other models")
    if kind not in model.thresholds:
        raise InputError(
            f"--thresholds {kind}: this model has none; let `multibox calibrate MODEL DATA --split NAME` fit them"
        )


def _told(model: ModelDetector, kind: str, missing: float) -> str:
    """Which of the model's thresholds are taken, and what becomes of the classes that have none."""
    without = [name for name, value in zip(model.class_names, model.thresholds[kind], strict=True) if value is None]
    which = "the best" if kind == BEST else "the lowest precise one"
    text = f"lowest score of each class: {which} that `multibox calibrate` found"
    if without and math.isinf(missing):
        never = f"nothing of {first_names(without)}, which no score makes precise enough"
        return f"{text}; {never} (--threshold {LOWEST_SCORE} to have them from there on)"
    others = f", {missing:g} for {first_names(without)}" if without else ""
    return f"{text}{others} (--threshold alone for one of all)"

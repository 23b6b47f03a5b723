"""What the report shows, worked out from an evaluation: texts, bars and curves ready to be placed on the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detection.evaluation.class_boxes import Floats
from detection.evaluation.coco_map import AREA_BANDS
from detection.evaluation.reliability import pool, reliability
from detection.evaluation.summary import PROTOCOLS, ClassEvaluation, Evaluation
from detection.evaluation.voc_map import precision_envelope

MAX_CURVES = 12
"""Curves shown; with more classes, those with the most objects."""

_CURVE_POINTS = 200
_AREA_WORDS = {
    "small": "up to 32 x 32 pixels",
    "medium": "32 x 32 to 96 x 96 pixels",
    "large": "from 96 x 96 pixels",
}


@dataclass(frozen=True)
class Headline:
    """One of the numbers at the top of the page."""

    name: str
    value: float | None
    protocol: str


@dataclass(frozen=True)
class SizeBand:
    """AP and AR of the objects of one size; ``ap`` and ``ar`` are None where there is no such object."""

    name: str
    extent: str
    num_gt: int
    ap: float | None
    ar: float | None


@dataclass(frozen=True)
class CurvePlot:
    """A precision-recall curve in a square of 100 x 100 units, precision upwards.

    Attributes:
        name: The class.
        numbers: Its evaluation.
        line: Points of the curve, ``x,y x,y ..``.
        area: The same under the monotone curve, closed along the bottom: its area is the VOC 2012 AP.
        marker: Where F1 is best, (x, y), or None.
    """

    name: str
    numbers: ClassEvaluation
    line: str
    area: str
    marker: tuple[float, float] | None


def headlines(evaluation: Evaluation) -> list[Headline]:
    """The numbers that a reader looks for first."""
    coco = evaluation.coco
    return [
        Headline("AP", coco["AP"], PROTOCOLS["coco"]),
        Headline("AP50", coco["AP50"], "the same at IoU 0.5"),
        Headline("AP75", coco["AP75"], "the same at IoU 0.75"),
        Headline("mAP VOC 2007", evaluation.voc07, PROTOCOLS["voc07"]),
        Headline("mAP VOC 2012", evaluation.voc12, PROTOCOLS["voc12"]),
        Headline("mAP ILSVRC", evaluation.ilsvrc, PROTOCOLS["ilsvrc"]),
    ]


def size_bands(evaluation: Evaluation) -> list[SizeBand]:
    """AP and AR by object size."""
    coco = evaluation.coco
    return [
        SizeBand(band, _AREA_WORDS[band], evaluation.num_gt_per_band[band], coco[f"AP{band[0]}"], coco[f"AR{band[0]}"])
        for band in AREA_BANDS
    ]


def curve_plots(per_class: Mapping[str, ClassEvaluation]) -> list[CurvePlot]:
    """Curves of the classes that have objects, the most frequent ``MAX_CURVES`` of them, in label order."""
    present = [name for name, numbers in per_class.items() if numbers.num_gt > 0]
    frequent = set(sorted(present, key=lambda name: -per_class[name].num_gt)[:MAX_CURVES])
    return [_plot(name, per_class[name]) for name in present if name in frequent]


@dataclass(frozen=True)
class ReliabilityBar:
    """The detections of one interval of scores, in a square of 100 x 100 units: how many of them are right."""

    x: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class ReliabilityPlot:
    """What the scores promise and what they keep.

    Attributes:
        bars: One for each interval that has detections.
        line: Points (mean score, share that is right).
        error: The expected calibration error over intervals of equal width.
        promise: Whether scores promise too much or too little on the mean, and by how much, in words.
    """

    bars: list[ReliabilityBar]
    line: str
    error: float
    promise: str


def reliability_plot(per_class: Mapping[str, ClassEvaluation]) -> ReliabilityPlot | None:
    """The scores of all classes together; None where nothing was detected."""
    if not per_class:
        return None
    binned = reliability(*pool([numbers.judged for numbers in per_class.values()]))
    if binned.ece is None or binned.overconfidence is None:
        return None
    bars, points = [], []
    for each in binned.bins:
        if each.score is None or each.precision is None:
            continue
        title = f"{each.count} detections of {each.low:g} to {each.high:g}: {each.precision:.3f} right"
        bars.append(ReliabilityBar(100 * each.low, 100 * (each.high - each.low), round(100 * each.precision, 1), title))
        points.append((each.score, each.precision))
    score, precision = np.array(points).T
    word = "much" if binned.overconfidence > 0 else "little"
    promise = f"on the mean they promise {abs(binned.overconfidence):.3f} too {word}"
    return ReliabilityPlot(bars, _points(score, precision), binned.ece, promise)


def _plot(name: str, numbers: ClassEvaluation) -> CurvePlot:
    """Turns a curve into points."""
    curve = numbers.curve
    shown = np.unique(np.linspace(0, max(len(curve.recall) - 1, 0), _CURVE_POINTS).astype(np.int64))
    shown = shown[: len(curve.recall)]
    recall, precision, envelope = curve.recall[shown], curve.precision[shown], precision_envelope(curve)[shown]
    line = _points(np.append(recall[:1] * 0, recall), np.append(precision[:1], precision))
    closed_recall = np.concatenate([recall[:1] * 0, recall, recall[-1:], recall[:1] * 0])
    closed_precision = np.concatenate([envelope[:1], envelope, envelope[-1:] * 0, envelope[:1] * 0])
    best = numbers.best
    marker = (round(100 * best.recall, 1), round(100 - 100 * best.precision, 1)) if best else None
    return CurvePlot(name, numbers, line, _points(closed_recall, closed_precision), marker)


def _points(recall: Floats, precision: Floats) -> str:
    """Points of an SVG polyline: x to the right is recall, y downwards is 1 - precision."""
    return " ".join(f"{100 * x:.1f},{100 - 100 * y:.1f}" for x, y in zip(recall, precision, strict=True))


def number_text(value: float | None, missing: str = "n/a") -> str:
    """Three decimals, or ``missing`` where the number does not exist."""
    return missing if value is None else f"{value:.3f}"

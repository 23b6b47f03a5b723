"""What the report shows, worked out from an evaluation: texts, bars and curves ready to be placed on the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detection.evaluation.bootstrap import ApEstimates
from detection.evaluation.class_boxes import Floats, Ints
from detection.evaluation.intervals import Estimate
from detection.evaluation.operating_point import Thresholds
from detection.evaluation.reliability import pool, reliability
from detection.evaluation.summary import ClassEvaluation, Evaluation
from detection.evaluation.voc_map import precision_envelope

MAX_CURVES = 12
"""Curves shown; with more classes, those with the most objects."""

_CURVE_PLACES = 200


@dataclass(frozen=True)
class Headline:
    """One of the numbers at the top of the page."""

    name: str
    estimate: Estimate
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
    """The curves of one class in squares of 100 x 100 units, precision and F1 upwards.

    Attributes:
        name: The class.
        label: Its number.
        numbers: Its evaluation.
        line: Points of precision against recall, ``x,y x,y ..``.
        area: The same under the monotone curve, closed along the bottom: its area is the VOC 2012 AP.
        marker: Where F1 is best, (x, y), or None.
        f1_line: Points of F1 against the score threshold.
        f1_marker: Where F1 is best, (x, y), or None.
    """

    name: str
    label: int
    numbers: ClassEvaluation
    line: str
    area: str
    marker: tuple[float, float] | None
    f1_line: str
    f1_marker: tuple[float, float] | None


def headlines(protocols: Mapping[str, str], estimates: ApEstimates) -> list[Headline]:
    """The numbers that a reader looks for first.

    Args:
        protocols: How each family of numbers is computed.
        estimates: The numbers.
    """
    rows = {
        "AP": ("AP", protocols["coco"]),
        "AP50": ("AP50", "the same at IoU 0.5"),
        "AP75": ("AP75", "the same at IoU 0.75"),
        "VOC07": ("mAP VOC 2007", protocols["voc07"]),
        "VOC12": ("mAP VOC 2012", protocols["voc12"]),
        "ILSVRC": ("mAP ILSVRC", protocols["ilsvrc"]),
    }
    return [Headline(name, estimates.measures[measure], protocol) for measure, (name, protocol) in rows.items()]


def size_bands(evaluation: Evaluation) -> list[SizeBand]:
    """AP and AR by object size."""
    coco = evaluation.coco
    return [
        SizeBand(name, extent, evaluation.num_gt_per_band[name], coco[f"AP{name[0]}"], coco[f"AR{name[0]}"])
        for name, extent in evaluation.settings.coco.bands.extents().items()
    ]


def curve_plots(per_class: Mapping[str, ClassEvaluation]) -> list[CurvePlot]:
    """Curves of the classes that have objects, the most frequent ``MAX_CURVES`` of them, in label order."""
    present = [name for name, numbers in per_class.items() if numbers.num_gt > 0]
    frequent = set(sorted(present, key=lambda name: -per_class[name].num_gt)[:MAX_CURVES])
    return [_plot(name, label, per_class[name]) for label, name in enumerate(per_class) if name in frequent]


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
    promise = f"on average they promise {abs(binned.overconfidence):.3f} too {word}"
    return ReliabilityPlot(bars, _points(score, precision), binned.ece, promise)


def _plot(name: str, label: int, numbers: ClassEvaluation) -> CurvePlot:
    """Turns a curve into points."""
    curve = numbers.curve
    shown = _shown_rows(curve.recall)
    recall, precision, envelope = curve.recall[shown], curve.precision[shown], precision_envelope(curve)[shown]
    line = _points(np.append(recall[:1] * 0, recall), np.append(precision[:1], precision))
    closed_recall = np.concatenate([recall[:1] * 0, recall, recall[-1:], recall[:1] * 0])
    closed_precision = np.concatenate([envelope[:1], envelope, envelope[-1:] * 0, envelope[:1] * 0])
    best = numbers.best
    marker = (round(100 * best.recall, 1), round(100 - 100 * best.precision, 1)) if best else None
    f1_marker = (round(100 * best.score_threshold, 1), round(100 - 100 * best.f1, 1)) if best else None
    area = _points(closed_recall, closed_precision)
    return CurvePlot(name, label, numbers, line, area, marker, _f1_line(numbers), f1_marker)


def _f1_line(numbers: ClassEvaluation) -> str:
    """Points of F1 against the threshold, from 0 to the highest score."""
    thresholds = Thresholds.of(numbers.curve)
    shown = _shown_rows(thresholds.scores)[::-1]
    f1 = thresholds.f1[shown]
    return _points(np.append(f1[:1] * 0, thresholds.scores[shown]), np.append(f1[:1], f1))


def _shown_rows(right: Floats) -> Ints:
    """The rows of a curve that the eye tells apart: the first and the last at each place, of ``_CURVE_PLACES`` in all.

    Rows by their number would not do: most detections of a class have low scores and find nothing new.

    Args:
        right: (N,) in [0, 1], rising or falling.
    """
    if not len(right):
        return np.empty(0, dtype=np.int64)
    ends = np.flatnonzero(np.diff(np.floor(right * _CURVE_PLACES)))
    return np.unique(np.concatenate([[0, len(right) - 1], ends, ends + 1]))


def _points(right: Floats, up: Floats) -> str:
    """Points of an SVG polyline of values in [0, 1]; y counts downwards."""
    return " ".join(f"{100 * x:.1f},{100 - 100 * y:.1f}" for x, y in zip(right, up, strict=True))

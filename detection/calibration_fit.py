"""Fitting of calibrated scores and thresholds on labelled images that are not learnt from and not judged on.

Legend: N counted detections of one class, I images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from detection.calibration import Calibration, ScoreMap, calibrated_scores
from detection.evaluation.averages import mean_of_present
from detection.evaluation.class_boxes import Bools, Floats
from detection.evaluation.operating_point import OperatingPoint, best_f1, precise_point
from detection.evaluation.reliability import JudgedClass, pool, reliability
from detection.evaluation.voc_map import precision_recall
from detection.platt import fit_score_maps, has_own_map

NUM_FOLDS = 5
"""Parts of the images; each is looked at with maps and thresholds of the others."""


@dataclass(frozen=True)
class FittedClass:
    """What calibration did to the scores of one class, or of all together.

    Attributes:
        num_detections: Counted detections.
        num_right: Those of them that are right.
        ece_before: Error of the scores as they were; None without detections.
        ece_after: Error of the calibrated scores on the images that they were fitted on: it flatters.
        ece_unseen: The same with maps fitted on other images; None without detections or with a single image.
        f1: Greatest F1, at the threshold chosen on the same images; None if there is nothing to be found.
        f1_unseen: F1 with thresholds chosen on other images; None also with a single image.
        precision_unseen: Share of right ones among those kept by thresholds chosen on other images for the wanted
            precision; None where none is kept, and with a single image.
        has_own_map: Whether there were enough detections for a map of its own.
    """

    num_detections: int
    num_right: int
    ece_before: float | None
    ece_after: float | None
    ece_unseen: float | None
    f1: float | None
    f1_unseen: float | None
    precision_unseen: float | None
    has_own_map: bool


@dataclass(frozen=True)
class CalibrationFit:
    """A calibration and how well it fits.

    Attributes:
        calibration: Maps and thresholds.
        per_class: Class name -> its numbers.
        overall: The same of all detections; its F1 and precision are means over the classes that have one.
    """

    calibration: Calibration
    per_class: Mapping[str, FittedClass]
    overall: FittedClass


def fit_calibration(
    classes: Mapping[str, JudgedClass], num_images: int, *, precision: float, fitted_on: Mapping[str, Any]
) -> CalibrationFit:
    """Finds maps and thresholds, and measures them on images that they were not found on.

    Args:
        classes: Class name -> its judged detections, scores as the network gives them; in label order.
        num_images: I.
        precision: Wanted for the threshold ``precise``.
        fitted_on: What to say of the images; the counts and errors are added.

    Returns:
        The fit. Without any detection the maps leave scores as they are.
    """
    judged = list(classes.values())
    maps = fit_score_maps(judged)
    mapped = [_with_map(each, score_map) for each, score_map in zip(judged, maps, strict=True)]
    curves = [precision_recall(each.matches) for each in mapped]
    best = [best_f1(curve) for curve in curves]
    unseen = _cross_fit(judged, num_images, precision)
    columns = zip(judged, mapped, best, unseen, strict=True)
    rows = dict(zip(classes, (_describe(*column) for column in columns), strict=True))
    overall = _summarize(list(rows.values()), judged, mapped, unseen)
    precise = [precise_point(curve, precision) for curve in curves]
    thresholds = {
        kind: tuple(point.score_threshold if point else None for point in points)
        for kind, points in (("best", best), ("precise", precise))
    }
    told = {
        **fitted_on,
        "images": num_images,
        "detections": overall.num_detections,
        "precision": precision,
        "ece_before": overall.ece_before,
        "ece_unseen": overall.ece_unseen,
    }
    return CalibrationFit(Calibration(tuple(maps), thresholds, told), rows, overall)


def map_scores(scores: Floats, score_map: ScoreMap) -> Floats:
    """(N,) calibrated scores, rounded to float32 as a detector gives them."""
    mapped: Floats = calibrated_scores(torch.from_numpy(scores), score_map.slope, score_map.bias).double().numpy()
    return mapped


def _with_map(judged: JudgedClass, score_map: ScoreMap) -> JudgedClass:
    return replace(judged, matches=replace(judged.matches, scores=map_scores(judged.scores, score_map)))


@dataclass(frozen=True)
class _Unseen:
    """One class, each image looked at with what the other images taught.

    Attributes:
        scores: (N,) calibrated, in the order of the class's detections.
        f1: With thresholds of the other images; None if there is nothing to be found.
        precision: With their thresholds for the wanted precision; None if those keep nothing.
    """

    scores: Floats
    f1: float | None
    precision: float | None


def _cross_fit(classes: Sequence[JudgedClass], num_images: int, precision: float) -> list[_Unseen | None]:
    """Fits without a part of the images and looks at that part, part by part; Nones with a single image.

    Parts are runs of neighbours: images taken one after the other look alike, and split up they would flatter the fit.
    """
    num_folds = min(NUM_FOLDS, num_images)
    if num_folds < 2:
        return [None] * len(classes)
    fold = np.arange(num_images) * num_folds // num_images
    scores = [np.zeros_like(each.scores) for each in classes]
    kept = [np.zeros_like(each.correct) for each in classes]
    kept_precise = [np.zeros_like(each.correct) for each in classes]
    for number in range(num_folds):
        others = [each.of_images(fold != number) for each in classes]
        for label, score_map in enumerate(fit_score_maps(others)):
            inside = fold[classes[label].image] == number
            scores[label][inside] = map_scores(classes[label].scores[inside], score_map)
            # Maps keep the order, so a threshold may be chosen and used on the scores as they were.
            curve = precision_recall(others[label].matches)
            kept[label] |= inside & _reaches(classes[label].scores, best_f1(curve))
            kept_precise[label] |= inside & _reaches(classes[label].scores, precise_point(curve, precision))
    return [
        _Unseen(mapped, _f1(best, each), _precision(precise, each))
        for mapped, best, precise, each in zip(scores, kept, kept_precise, classes, strict=True)
    ]


def _reaches(scores: Floats, point: OperatingPoint | None) -> Bools:
    """Which scores are kept; none where no threshold could be chosen."""
    reached: Bools = scores >= (np.inf if point is None else point.score_threshold)
    return reached


def _f1(kept: Bools, judged: JudgedClass) -> float | None:
    """2 right / (kept + to be found); None if there is nothing to be found."""
    num_gt = judged.matches.num_gt
    total = int(np.count_nonzero(kept)) + num_gt
    return 2 * int(np.count_nonzero(kept & judged.correct)) / total if num_gt else None


def _precision(kept: Bools, judged: JudgedClass) -> float | None:
    """The share of the kept ones that are right; None of none."""
    return float(judged.correct[kept].mean()) if kept.any() else None


def _describe(
    before: JudgedClass, after: JudgedClass, point: OperatingPoint | None, unseen: _Unseen | None
) -> FittedClass:
    """The numbers of one class, its scores as they were and calibrated."""
    return FittedClass(
        num_detections=len(before.scores),
        num_right=int(np.count_nonzero(before.correct)),
        ece_before=reliability(before.scores, before.correct).ece,
        ece_after=reliability(after.scores, after.correct).ece,
        ece_unseen=reliability(unseen.scores, before.correct).ece if unseen else None,
        f1=_f1(_reaches(after.scores, point), after),
        f1_unseen=unseen.f1 if unseen else None,
        precision_unseen=unseen.precision if unseen else None,
        has_own_map=has_own_map(before),
    )


def _summarize(
    rows: Sequence[FittedClass],
    before: Sequence[JudgedClass],
    after: Sequence[JudgedClass],
    unseen: Sequence[_Unseen | None],
) -> FittedClass:
    """The row of all classes: errors of the pooled detections, means of the F1."""
    scores, correct = pool(before)
    others = [each.scores for each in unseen if each is not None]
    return FittedClass(
        num_detections=len(scores),
        num_right=int(np.count_nonzero(correct)),
        ece_before=reliability(scores, correct).ece,
        ece_after=reliability(*pool(after)).ece,
        ece_unseen=reliability(np.concatenate(others), correct).ece if others else None,
        f1=mean_of_present(row.f1 for row in rows),
        f1_unseen=mean_of_present(row.f1_unseen for row in rows),
        precision_unseen=mean_of_present(row.precision_unseen for row in rows),
        has_own_map=True,
    )

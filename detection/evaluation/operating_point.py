"""The score thresholds at which a class is detected best, or precisely enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detection.evaluation.class_boxes import Floats
from detection.evaluation.voc_map import PrecisionRecall


@dataclass(frozen=True)
class OperatingPoint:
    """Detections with score >= ``score_threshold`` are kept; this is what they are worth.

    Attributes:
        score_threshold: In [0, 1].
        precision: Share of the kept detections that are right.
        recall: Share of the ground truths that are found.
        f1: Harmonic mean of both.
    """

    score_threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Thresholds:
    """What each threshold of a class is worth: one row for each score that occurs, highest first.

    Attributes:
        scores: (S,) the thresholds; one keeps all detections of equal score or none.
        precision: (S,) share of the kept detections that are right.
        recall: (S,) share of the ground truths that are found.
        f1: (S,) harmonic mean of both; 0 where both are 0.
    """

    scores: Floats
    precision: Floats
    recall: Floats
    f1: Floats

    @classmethod
    def of(cls, curve: PrecisionRecall) -> Thresholds:
        """Of a curve of one class; no detections give no thresholds."""
        last_of_score = np.append(np.diff(curve.scores) != 0, True)[: len(curve.scores)]
        precision, recall = curve.precision[last_of_score], curve.recall[last_of_score]
        total = precision + recall
        f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
        return cls(curve.scores[last_of_score], precision, recall, f1)

    def __getitem__(self, row: int) -> OperatingPoint:
        return OperatingPoint(
            float(self.scores[row]), float(self.precision[row]), float(self.recall[row]), float(self.f1[row])
        )


def best_f1(curve: PrecisionRecall) -> OperatingPoint | None:
    """Finds the threshold with the highest F1; of equal ones the highest threshold.

    Args:
        curve: Precision and recall of one class.

    Returns:
        The point, or None if no detection is right.
    """
    thresholds = Thresholds.of(curve)
    return thresholds[int(thresholds.f1.argmax())] if np.any(thresholds.recall > 0) else None


def precise_point(curve: PrecisionRecall, precision: float) -> OperatingPoint | None:
    """Finds the threshold of the greatest recall among those with at least this precision; of equal ones the highest.

    That is the lowest threshold with the precision, but for wrong detections at the end that find nothing more.

    Args:
        curve: Precision and recall of one class.
        precision: Wanted, in [0, 1].

    Returns:
        The point, or None if no right detection is kept at any that has the precision.
    """
    thresholds = Thresholds.of(curve)
    passing = np.flatnonzero((thresholds.precision >= precision) & (thresholds.recall > 0))
    return thresholds[int(passing[thresholds.recall[passing].argmax()])] if len(passing) else None

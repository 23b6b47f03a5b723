"""The score threshold at which a class is detected best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def best_f1(curve: PrecisionRecall) -> OperatingPoint | None:
    """Finds the threshold with the highest F1; of equal ones the highest threshold.

    A threshold keeps all detections of equal score or none, so only the last row of each score can be chosen.

    Args:
        curve: Precision and recall of one class.

    Returns:
        The point, or None if no detection is right.
    """
    if not np.any(curve.recall > 0):
        return None
    last_of_score = np.append(np.diff(curve.scores) != 0, True)
    precision, recall = curve.precision[last_of_score], curve.recall[last_of_score]
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(f1.argmax())
    threshold = float(curve.scores[last_of_score][best])
    return OperatingPoint(threshold, float(precision[best]), float(recall[best]), float(f1[best]))

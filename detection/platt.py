"""Score maps fitted to right and wrong detections: Platt scaling, class by class, with strength lent by the others.

Legend: N counted detections of one class, C classes, K parameters of a map.

How far a class may differ from the others follows from how much it shows. One map is fitted to the detections of all
classes, drawn towards leaving scores as they are; each class's own is drawn towards that one. A class with fewer than
``MIN_EXAMPLES`` right or as few wrong detections takes the map of all classes: its own slope would be guesswork.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection.calibration import IDENTITY, ScoreMap
from detection.evaluation.class_boxes import Bools, Floats
from detection.evaluation.reliability import JudgedClass, pool

MIN_EXAMPLES = 10
"""Right detections, and wrong ones, that a class needs for a map of its own."""

SHARED_STRENGTH = 0.25
"""Pull of the map of all classes towards the identity: half this, times the squared distance of slope and bias, is
added to the negative log likelihood. It matters only where there are next to no detections."""

CLASS_STRENGTH = 4.0
"""Pull of a class's map towards that of all classes: as if maps of classes spread by 1/2 around it. A detection with a
probability p tells p (1 - p) about the bias, so sixteen of the most doubtful weigh as much as the pull."""

MIN_SLOPE = 0.1
"""The slope never falls below: scores that say nothing, or the opposite, are nearly levelled, but keep their order."""

_SCORE_MARGIN = 1e-6  # In fitting only: the logits of exactly 0 and 1 are infinite.
_MAX_STEPS = 100
_STEP_TOLERANCE = 1e-10


def fit_score_maps(classes: Sequence[JudgedClass]) -> list[ScoreMap]:
    """Finds the map of each class; see the head of this module for how classes share.

    Args:
        classes: C classes.

    Returns:
        C maps; without any detection they leave scores as they are.
    """
    shared = fit_score_map(*pool(classes), prior=IDENTITY, strength=SHARED_STRENGTH)
    return [
        fit_score_map(each.scores, each.correct, prior=shared, strength=CLASS_STRENGTH) if has_own_map(each) else shared
        for each in classes
    ]


def has_own_map(judged: JudgedClass) -> bool:
    """Whether a class has enough right and enough wrong detections."""
    num_right = int(np.count_nonzero(judged.correct))
    return min(num_right, len(judged.correct) - num_right) >= MIN_EXAMPLES


def fit_score_map(scores: Floats, correct: Bools, *, prior: ScoreMap, strength: float) -> ScoreMap:
    """Finds the map under which the detections are most likely right and wrong as they are.

    It minimises sum log(1 + exp(-y z)) + strength / 2 |(slope, bias) - prior|^2 with z = slope * logit(score) + bias
    and y = 1 for right, -1 for wrong: strictly convex, so there is one minimum, and Newton's method finds it.

    Args:
        scores: (N,) in [0, 1].
        correct: (N,) which are right.
        prior: The map that it is drawn to; the answer where N = 0.
        strength: Of the pull, above 0; all right or all wrong would send the map to infinity without it.

    Returns:
        The map; if its slope would fall below ``MIN_SLOPE``, the best one with that slope.
    """
    clipped = np.clip(scores, _SCORE_MARGIN, 1 - _SCORE_MARGIN)
    logits = np.log(clipped) - np.log1p(-clipped)
    ones = np.ones_like(logits)
    both = np.stack([logits, ones], axis=1)
    slope, bias = _minimize(both, 0 * logits, correct=correct, prior=np.array(prior), strength=strength)
    if slope < MIN_SLOPE:
        # Convex: where the free minimum breaks the bound, the bounded one lies on it.
        slope, alone = MIN_SLOPE, np.array([prior.bias])
        (bias,) = _minimize(ones[:, None], slope * logits, correct=correct, prior=alone, strength=strength)
    return ScoreMap(float(slope), float(bias))


def _minimize(columns: Floats, offset: Floats, *, correct: Bools, prior: Floats, strength: float) -> Floats:
    """Penalised logistic regression by Newton's method, steps halved until they help.

    Args:
        columns: (N, K) inputs.
        offset: (N,) added to the logits as it is.
        correct: (N,) which are right.
        prior: (K,) where the weights are drawn to, and start.
        strength: Of the pull.

    Returns:
        (K,) weights.
    """

    def loss(weights: Floats) -> float:
        logits = columns @ weights + offset
        pull = strength / 2 * float(np.sum((weights - prior) ** 2))
        return float(np.sum(np.logaddexp(0, logits) - correct * logits)) + pull

    weights, value = prior.astype(np.float64), loss(prior)
    for _ in range(_MAX_STEPS):
        probability = np.exp(-np.logaddexp(0, -(columns @ weights + offset)))
        gradient = columns.T @ (probability - correct) + strength * (weights - prior)
        doubt = probability * (1 - probability)
        curvature = columns.T @ (doubt[:, None] * columns) + strength * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        # At the minimum the loss changes by rounding only, so a step may then raise it by a last digit.
        allowed = value + 1e-12 * abs(value)
        while (next_value := loss(weights - step)) > allowed and np.abs(step).max() > _STEP_TOLERANCE:
            step = step / 2
        weights, value = weights - step, next_value
        if np.abs(step).max() <= _STEP_TOLERANCE:
            break
    return weights

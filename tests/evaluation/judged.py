"""Judged detections made of plain lists, or drawn so that the right map of their scores is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection.evaluation.class_boxes import Bools, Floats
from detection.evaluation.reliability import JudgedClass
from detection.evaluation.voc_map import Matches


def make_judged(
    scores: Sequence[float],
    correct: Sequence[bool],
    *,
    image: Sequence[int] | None = None,
    missed: Sequence[int] = (),
) -> JudgedClass:
    """One class; ``missed`` names the image of each object that no detection finds. Rows are sorted by score."""
    order = np.argsort(-np.array(scores, dtype=np.float64), kind="stable")
    sorted_scores = np.array(scores, dtype=np.float64)[order]
    right = np.array(correct, dtype=np.bool_)[order]
    images = np.array([0] * len(scores) if image is None else image, dtype=np.int64)[order]
    gt_image = np.concatenate([images[right], np.array(missed, dtype=np.int64)])
    gt_index = np.where(right, np.cumsum(right) - 1, -1)
    matches = Matches(sorted_scores, gt_index, np.zeros(len(right), np.bool_), len(gt_image))
    return JudgedClass(matches, images, gt_image)


def draw_judged(
    seed: int, number: int, *, slope: float, bias: float, num_images: int = 10, scores: Floats | None = None
) -> JudgedClass:
    """Detections with random scores, each right with the probability sigmoid(slope * logit(score) + bias)."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(0.02, 0.98, number).astype(np.float32).astype(np.float64) if scores is None else scores
    probability = 1 / (1 + np.exp(-(slope * np.log(drawn / (1 - drawn)) + bias)))
    correct: Bools = rng.random(number) < probability
    image = rng.integers(0, num_images, number)
    return make_judged(drawn.tolist(), correct.tolist(), image=image.tolist())

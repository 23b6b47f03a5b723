"""What a score threshold keeps of each class, small enough to be embedded in a page and cut anywhere by a slider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection.evaluation.explanation import DEFAULT_SCORE_THRESHOLD
from detection.evaluation.summary import ClassEvaluation

STEPS = 200
"""Places of the slider between 0 and 1."""


@dataclass(frozen=True)
class Cut:
    """One class, or all together, with every detection from some score on; numbers that do not exist are None."""

    right: int
    false: int
    missed: int

    @property
    def precision(self) -> float | None:
        """Share of the kept detections that are right."""
        return self.right / (self.right + self.false) if self.right + self.false else None

    @property
    def recall(self) -> float | None:
        """Share of the objects that are found."""
        return self.right / (self.right + self.missed) if self.right + self.missed else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both."""
        total = 2 * self.right + self.false + self.missed
        return 2 * self.right / total if total else None


@dataclass(frozen=True)
class ScoreTable:
    """Kept and right detections of one class by score, in runs.

    A run holds the detections from its lower end up to the next; ends are the places of the slider and the class's own
    thresholds, so a cut at any of these is exact.

    Attributes:
        ends: Lower ends of the runs that hold detections, highest first.
        kept: Detections of each run.
        right: Those of them that are right.
        num_objects: Objects to be found.
        best: Threshold of the best F1, or ``DEFAULT_SCORE_THRESHOLD`` if no detection is right.
        precise: Threshold of the wanted precision, None if it is not reached.
    """

    ends: tuple[float, ...]
    kept: tuple[int, ...]
    right: tuple[int, ...]
    num_objects: int
    best: float
    precise: float | None

    def cut(self, score_threshold: float) -> Cut:
        """The counts with every detection of at least this score: a place of the slider, ``best`` or ``precise``."""
        rows = [row for row, end in enumerate(self.ends) if end >= score_threshold]
        kept, right = (sum(column[row] for row in rows) for column in (self.kept, self.right))
        return Cut(right, kept - right, self.num_objects - right)

    def to_page(self, name: str) -> dict[str, Any]:
        """The entry for the script of the page."""
        return {
            "name": name,
            "ends": self.ends,
            "kept": self.kept,
            "right": self.right,
            "objects": self.num_objects,
            "best": self.best,
            "precise": self.precise,
        }


def score_tables(per_class: Mapping[str, ClassEvaluation]) -> dict[str, ScoreTable]:
    """Class name -> its table, in label order."""
    return {name: _make_table(numbers) for name, numbers in per_class.items()}


def total(cuts: Sequence[Cut]) -> Cut:
    """All classes together, each cut somewhere."""
    return Cut(sum(each.right for each in cuts), sum(each.false for each in cuts), sum(each.missed for each in cuts))


def _make_table(numbers: ClassEvaluation) -> ScoreTable:
    best = numbers.best.score_threshold if numbers.best else DEFAULT_SCORE_THRESHOLD
    precise = numbers.precise.score_threshold if numbers.precise else None
    own = [best] if precise is None else [best, precise]
    ends = np.unique(np.concatenate([np.arange(STEPS + 1) / STEPS, own]))
    run = np.searchsorted(ends, numbers.judged.scores, side="right") - 1
    kept = np.bincount(run, minlength=len(ends))
    right = np.bincount(run[numbers.judged.correct], minlength=len(ends))
    filled = np.flatnonzero(kept)[::-1]
    return ScoreTable(
        ends=tuple(ends[filled].tolist()),
        kept=tuple(kept[filled].tolist()),
        right=tuple(right[filled].tolist()),
        num_objects=numbers.num_gt,
        best=best,
        precise=precise,
    )

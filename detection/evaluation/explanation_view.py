"""What the report shows of the reasons behind the numbers: bars of errors and stages, and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detection.evaluation.class_boxes import Ints
from detection.evaluation.confusion import MAX_IMAGES, Confusion
from detection.evaluation.error_types import ERROR_KINDS, ErrorAnalysis
from detection.evaluation.explanation import Explanation
from detection.evaluation.stage_blame import BLAMES, UNREAD, StageBlame

MAX_MATRIX_CLASSES = 16
"""Classes that have a row; with more, those with the most errors, and one row of all others."""

OTHERS = "other classes"
AMONG_OTHERS = "another of the others"


@dataclass(frozen=True)
class ErrorBar:
    """One kind of error.

    Attributes:
        name: The kind.
        meaning: What it is.
        cost: AP50 it costs; None without objects.
        width: Length of the bar in percent; the costliest kind has 100.
        count: Errors among detections of any score.
        count_at_thresholds: Errors at the score thresholds.
    """

    name: str
    meaning: str
    cost: float | None
    width: float
    count: int
    count_at_thresholds: int


@dataclass(frozen=True)
class BlameBar:
    """One stage that lost objects: how many, of which classes, and the length of the bar in percent."""

    meaning: str
    count: int
    share: float
    width: float
    classes: str


@dataclass(frozen=True)
class MatrixCell:
    """One pair of classes.

    Attributes:
        count: How often.
        shade: Share of the row in percent.
        is_right: Whether both are the same class.
        images: Indices of images it comes from.
    """

    count: int
    shade: float
    is_right: bool
    images: tuple[int, ...]


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix, cut to the classes that matter.

    Attributes:
        columns: Names of the columns; the last is "missed". Where classes stand together, the one before is of those of
            them that were taken for another of them.
        rows: Name, cells and sum of each row; the last row is that of false detections and has no sum of objects.
        is_cut: Whether some classes stand together.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MatrixCell, ...], int], ...]
    is_cut: bool


def error_bars(errors: ErrorAnalysis, explanation: Explanation) -> list[ErrorBar]:
    """Kinds of error, in the order of the paper."""
    costs, counts = errors.costs, errors.counts()
    at_thresholds = errors.counts(explanation.score_thresholds)
    most = max((cost or 0.0 for cost in costs.values()), default=0.0)
    return [
        ErrorBar(name, meaning, costs[name], _percent(costs[name] or 0.0, most), counts[name], at_thresholds[name])
        for name, meaning in ERROR_KINDS.items()
    ]


def blame_bars(blame: StageBlame, class_names: tuple[str, ...]) -> list[BlameBar]:
    """Stages in the order in which an image passes them; unread images only if there are some."""
    totals = blame.counts.sum(axis=0).tolist()
    bars = []
    for number, meaning in enumerate(BLAMES.values()):
        if number == UNREAD and totals[number] == 0:
            continue
        column = blame.counts[:, number]
        worst = [label for label in np.argsort(-column, kind="stable").tolist() if column[label] > 0]
        classes = ", ".join(f"{column[label]} {class_names[label]}" for label in worst[:4])
        more = ", .." if len(worst) > 4 else ""
        share, width = _percent(totals[number], sum(totals)), _percent(totals[number], max(totals))
        bars.append(BlameBar(meaning, totals[number], share, width, classes + more))
    return bars


def confusion_matrix(confusion: Confusion, class_names: tuple[str, ...]) -> Matrix:
    """The matrix for the page; rows of classes still sum to their objects."""
    place, names = _places(confusion.counts, class_names)
    is_cut = len(names) < len(class_names)
    columns = (*names, AMONG_OTHERS, "missed") if is_cut else (*names, "missed")
    column_place = _column_places(place) if is_cut else np.tile(place, (len(place), 1))
    counts = np.zeros((len(names) + 1, len(columns)), np.int64)
    np.add.at(counts, (place[:, None], column_place), confusion.counts)
    images: dict[tuple[int, int], tuple[int, ...]] = {}
    for (row, column), known in confusion.images.items():
        cell = int(place[row]), int(column_place[row, column])
        images[cell] = tuple(dict.fromkeys((*images.get(cell, ()), *known)))[:MAX_IMAGES]
    rows = []
    for row, name in enumerate((*names, "no object (false)")):
        total = int(counts[row].sum())
        cells = tuple(
            MatrixCell(
                int(counts[row, column]),
                _percent(float(counts[row, column]), total),
                row == column < len(names),
                images.get((row, column), ()),
            )
            for column in range(len(columns))
        )
        rows.append((name, cells, total))
    return Matrix(columns, tuple(rows), is_cut)


def _places(counts: Ints, class_names: tuple[str, ...]) -> tuple[Ints, tuple[str, ...]]:
    """(C + 1,) row of the shown matrix for each class and for the background, and the names of the shown classes."""
    num_classes = len(class_names)
    if num_classes <= MAX_MATRIX_CLASSES:
        return np.arange(num_classes + 1), class_names
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    shown = np.sort(np.argsort(-errors[:-1], kind="stable")[: MAX_MATRIX_CLASSES - 1])
    place = np.full(num_classes + 1, len(shown))
    place[shown] = np.arange(len(shown))
    place[-1] = len(shown) + 1
    return place, (*(class_names[label] for label in shown.tolist()), OTHERS)


def _column_places(place: Ints) -> Ints:
    """(C + 1, C + 1) column of the cut matrix for each pair of classes; ``place`` is (C + 1,), as of ``_places``.

    A column is the row of its class. But that of two different classes which stand together comes after them: their
    confusions are not right because both are others.
    """
    nothing = int(place[-1])
    columns = np.tile(np.where(place == nothing, nothing + 1, place), (len(place), 1))
    is_other = place == nothing - 1
    columns[is_other[:, None] & is_other[None, :] & ~np.eye(len(place), dtype=np.bool_)] = nothing
    return columns


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole else 0.0

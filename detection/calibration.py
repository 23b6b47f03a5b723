"""Calibrated scores, and the thresholds that go with them: what a model file says and a detector applies.

Legend: D detections of one image, C classes.

A calibrated score says how often such a detection is right: of those with 0.8, four in five. Each class has its own
map, sigmoid(slope * logit(score) + bias): Platt scaling; the slope is one over the temperature of Guo et al.
(1706.04599) and above 0, so the detections of a class keep their order and its AP its value; between classes the order
may change. ``platt`` finds the maps, ``calibration_fit`` the thresholds and how good both are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from detection.structures import Detections

BEST, PRECISE = THRESHOLDS = ("best", "precise")
"""The thresholds of a class: that of the greatest F1, and the lowest at which the wanted precision is reached."""


class ScoreMap(NamedTuple):
    """score -> sigmoid(slope * logit(score) + bias), with slope > 0."""

    slope: float
    bias: float


IDENTITY = ScoreMap(1.0, 0.0)

_KEYS = {*ScoreMap._fields, *THRESHOLDS}


def calibrated_scores(scores: Tensor, slopes: Tensor | float, biases: Tensor | float) -> Tensor:
    """sigmoid(slope * logit(score) + bias) of each score.

    Worked out in double precision and rounded once, so that scores which differ stay apart as far as float32 can tell;
    neighbours in float32 may become equal. 0 stays 0 and 1 stays 1.

    Args:
        scores: (D,) in [0, 1], of any float type.
        slopes: (D,) or one for all, above 0.
        biases: (D,) or one for all.

    Returns:
        (D,) float32 in [0, 1].
    """
    logits = torch.logit(scores.double().clamp(0, 1))
    return torch.sigmoid(slopes * logits + biases).float()


@dataclass(frozen=True)
class Calibration:
    """Maps and thresholds of a model's classes.

    Attributes:
        maps: C maps, in label order.
        thresholds: Name of ``THRESHOLDS`` -> C calibrated scores from which a detection is kept; None for a class that
            has none (no detection of it was right, or the precision is never reached).
        fitted_on: What they were fitted on and how well they fit, as plain JSON.
    """

    maps: tuple[ScoreMap, ...]
    thresholds: Mapping[str, tuple[float | None, ...]]
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.maps:
            if not (math.isfinite(each.slope) and math.isfinite(each.bias) and each.slope > 0):
                raise ValueError(f"a score map needs a slope above 0 and a finite bias, got {each}")
        if set(self.thresholds) != set(THRESHOLDS):
            raise ValueError(f"expected the thresholds {', '.join(THRESHOLDS)}, got {', '.join(self.thresholds)}")
        for kind, values in self.thresholds.items():
            if len(values) != len(self.maps):
                raise ValueError(f"{len(self.maps)} classes have {len(values)} thresholds {kind!r}")
            if wrong := [value for value in values if value is not None and not 0 <= value <= 1]:
                raise ValueError(f"threshold {kind!r} is {wrong[0]}, expected 0 to 1")

    def apply(self, detections: Detections) -> Detections:
        """Calibrates the scores and sorts by them again, best first; equal ones keep their order.

        Args:
            detections: D detections after NMS, scores as the network gives them, labels in [0, C).

        Returns:
            The same boxes with other scores. Within a class the order is as before.
        """
        maps = torch.tensor(self.maps, dtype=torch.float64, device=detections.scores.device)
        slopes, biases = maps[detections.labels].unbind(dim=1)
        scores = calibrated_scores(detections.scores, slopes, biases)
        order = scores.argsort(descending=True, stable=True)
        return Detections(detections.boxes[order], scores[order], detections.labels[order], detections.image_size_hw)

    def to_header(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Plain JSON for a model file's header, by class name."""
        columns = zip(class_names, self.maps, *(self.thresholds[kind] for kind in THRESHOLDS), strict=True)
        classes = {
            name: {**score_map._asdict(), **dict(zip(THRESHOLDS, values, strict=True))}
            for name, score_map, *values in columns
        }
        return {"classes": classes, "fitted_on": dict(self.fitted_on)}

    @classmethod
    def from_header(cls, document: Mapping[str, Any], class_names: Sequence[str]) -> Calibration:
        """Reads what ``to_header`` gave.

        Args:
            document: The header's entry.
            class_names: C names of the model.

        Raises:
            ValueError: If it lacks or adds a field or a class, or a number is impossible.
        """
        if not isinstance(document, Mapping) or set(document) != {"classes", "fitted_on"}:
            raise ValueError(f"calibration: expected classes and fitted_on, got {document!r:.120}")
        classes, fitted_on = document["classes"], document["fitted_on"]
        if not isinstance(fitted_on, Mapping):
            raise ValueError(f"calibration: expected names and numbers under fitted_on, got {fitted_on!r:.120}")
        if not isinstance(classes, Mapping) or set(classes) != set(class_names):
            raise ValueError(f"calibration: expected the classes {', '.join(class_names)}, got {classes!r:.120}")
        rows = [_read_row(name, classes[name]) for name in class_names]
        maps = tuple(ScoreMap(float(row["slope"]), float(row["bias"])) for row in rows)
        return cls(maps, {kind: tuple(row[kind] for row in rows) for kind in THRESHOLDS}, fitted_on)


def lowest_scores(thresholds: Sequence[float | None], *, missing: float) -> Tensor:
    """C thresholds -> (C,) float32, in label order; ``missing`` for a class that has none."""
    return torch.tensor([missing if value is None else value for value in thresholds], dtype=torch.float32)


def _read_row(name: str, row: object) -> Mapping[str, Any]:
    """The numbers of one class; only a threshold may be missing (None)."""
    if not isinstance(row, Mapping) or set(row) != _KEYS:
        raise ValueError(f"calibration of {name!r}: expected {', '.join(sorted(_KEYS))}, got {row!r:.120}")
    for key, value in row.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number and not (value is None and key in THRESHOLDS):
            raise ValueError(f"calibration of {name!r}: {key} is {value!r:.120}, expected a number")
    return row

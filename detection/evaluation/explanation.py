"""What is behind the numbers: how far they may be off, kinds of error, confused classes, stages that lost objects.

Legend: C classes, G ground truths over all images and classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection.data.records import DetectionData
from detection.evaluation.bootstrap import ApEstimates, resample_split
from detection.evaluation.class_boxes import Floats, SplitBoxes, pack_split
from detection.evaluation.confusion import Confusion, count_confusions
from detection.evaluation.error_types import ErrorAnalysis, find_errors
from detection.evaluation.image_errors import Outcomes, find_outcomes
from detection.evaluation.stage_blame import Examined, StageBlame, blame_missed
from detection.evaluation.summary import Evaluation
from detection.structures import Detections

DEFAULT_SCORE_THRESHOLD = 0.5
"""Used where a class has no right detection and so no best threshold."""


@dataclass(frozen=True)
class Explanation:
    """What is behind an evaluation.

    Attributes:
        split: All boxes.
        estimates: The average precisions with their intervals.
        score_thresholds: (C,) best F1 of each class, ``DEFAULT_SCORE_THRESHOLD`` where there is none.
        outcomes: What is found, missed and false.
        errors: Kinds of error.
        confusion: Confused classes, at the thresholds.
        blame: Which stage lost each object that is missed at the thresholds; None without traces.
    """

    split: SplitBoxes
    estimates: ApEstimates
    score_thresholds: Floats
    outcomes: Outcomes
    errors: ErrorAnalysis
    confusion: Confusion
    blame: StageBlame | None

    def to_metrics(self) -> dict[str, Any]:
        """Entries of ``metrics.json``: numbers, strings and None only."""
        costs, counts = self.errors.costs, self.errors.counts()
        at_thresholds = self.errors.counts(self.score_thresholds)
        names = self.split.class_names
        return {
            "intervals": self.estimates.to_document(),
            "errors": {
                "AP50": self.errors.ap50,
                "kinds": {
                    name: {"cost_AP50": cost, "count": counts[name], "count_at_thresholds": at_thresholds[name]}
                    for name, cost in costs.items()
                },
            },
            "confusion": self.confusion.to_metrics(names),
            "stage_blame": None if self.blame is None else self.blame.to_metrics(names),
        }


def explain(
    data: DetectionData,
    detections: Mapping[int, Detections],
    evaluation: Evaluation,
    examined: Mapping[int, Examined] | None = None,
) -> Explanation:
    """Finds out why the numbers of a split are what they are.

    Args:
        data: The split.
        detections: Image id -> detections in original pixels; those of the evaluation.
        evaluation: Its numbers.
        examined: Image id -> its objects followed through the stages; images that could not be read are missing. None
            where the detections do not come from a detector that can be traced.
    """
    split = pack_split(data, detections)
    best = evaluation.score_thresholds.values()
    thresholds = np.array([DEFAULT_SCORE_THRESHOLD if each is None else each for each in best], dtype=np.float64)
    outcomes = find_outcomes(split)
    blame = None
    if examined is not None:
        in_order = [examined.get(record.image_id) for record in data.images]
        blame = blame_missed(split, outcomes.missed(split, thresholds), in_order, thresholds)
    max_detections = evaluation.settings.coco.max_detections
    image_ids = [record.image_id for record in data.images]
    return Explanation(
        split=split,
        estimates=resample_split(split, image_ids=image_ids, max_detections=max_detections).estimates(),
        score_thresholds=thresholds,
        outcomes=outcomes,
        errors=find_errors(split, image_ids=image_ids, max_detections=max_detections),
        confusion=count_confusions(split, thresholds),
        blame=blame,
    )

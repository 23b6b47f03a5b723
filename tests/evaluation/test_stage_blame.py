"""Stage blame: every kind from a constructed trace, and the kinds add up to the missed objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from detection.evaluation.class_boxes import pack_split
from detection.evaluation.explanation import explain
from detection.evaluation.explanation_view import blame_bars
from detection.evaluation.image_errors import find_outcomes
from detection.evaluation.stage_blame import (
    BELOW_THRESHOLD,
    BLAMES,
    LIMIT,
    NMS,
    NO_PROPOSAL,
    POOR_BOX,
    SAID_BACKGROUND,
    UNREAD,
    WRONG_CLASS,
    blame_missed,
    examine,
)
from detection.evaluation.summary import evaluate_detections
from detection.structures import Detections
from detection.tracing import Trace
from tests.evaluation.splits import Box, make_detections, make_record, make_split

CAT, DOG = 0, 1
A, NEAR_A, NOWHERE = (0, 0, 100, 100), (0, 0, 100, 80), (200, 100, 290, 190)
THRESHOLDS = np.array([0.5, 0.5])
NOTHING = make_detections([])


class Region(NamedTuple):
    """A judged proposal: probabilities of cat, dog and background; the refined box of both classes, if it moves."""

    proposal: Box
    probabilities: tuple[float, float, float]
    refined: Box | None = None


def trace_of(regions: Sequence[Region], found: Detections = NOTHING, *, is_full: bool = False) -> Trace:
    """Scores are the probabilities themselves."""
    probabilities = np.array([region.probabilities for region in regions]).reshape(-1, 3)
    boxes = np.array([[region.refined or region.proposal] * 2 for region in regions], dtype=np.float64)
    return Trace(
        proposals=np.array([region.proposal for region in regions], dtype=np.float64).reshape(-1, 4),
        probabilities=probabilities,
        boxes=boxes.reshape(-1, 2, 4),
        scores=probabilities[:, :2],
        found=found.boxes.double().numpy(),
        found_scores=found.scores.double().numpy(),
        found_labels=found.labels.numpy(),
        overlap_lost=0.5,
        is_full=is_full,
    )


KINDS = {
    NO_PROPOSAL: trace_of([Region(NOWHERE, (0.9, 0.0, 0.1))]),
    SAID_BACKGROUND: trace_of([Region(A, (0.3, 0.1, 0.6)), Region(NEAR_A, (0.1, 0.2, 0.7))]),
    WRONG_CLASS: trace_of([Region(A, (0.3, 0.6, 0.1)), Region(NEAR_A, (0.1, 0.2, 0.7))]),
    POOR_BOX: trace_of([Region(A, (0.9, 0.0, 0.1), NOWHERE), Region(NEAR_A, (0.1, 0.2, 0.7))]),
    BELOW_THRESHOLD: trace_of([Region(A, (0.45, 0.3, 0.25)), Region(NEAR_A, (0.1, 0.8, 0.1))]),
    # The better cat overlaps the region by 0.6 and the object by 0.48 only.
    NMS: trace_of([Region(NEAR_A, (0.6, 0.1, 0.3))], make_detections([((0, 0, 100, 48), 0.7, CAT)])),
    LIMIT: trace_of([Region(A, (0.6, 0.1, 0.3))], make_detections([(A, 0.7, DOG)]), is_full=True),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind_alone(kind: int) -> None:
    record = make_record(1, [(A, CAT)])
    split = pack_split(make_split([record]), {})
    blame = blame_missed(split, np.array([True]), [examine(KINDS[kind], record)], THRESHOLDS)
    assert blame.kinds.tolist() == [kind]
    assert blame.counts.sum() == blame.counts[CAT, kind] == 1


def test_a_full_image_does_not_hide_nms() -> None:
    found = make_detections([(NEAR_A, 0.7, CAT)])
    examined = examine(trace_of([Region(A, (0.6, 0.1, 0.3))], found, is_full=True), make_record(1, [(A, CAT)]))
    assert examined.removed_by.tolist() == [NMS]


def test_the_limit_takes_the_worst_so_a_worse_one_that_stayed_clears_it() -> None:
    """Matrix NMS lowered the score at an overlap that would not have cost the place."""
    apart = (0, 0, 100, 40)
    for worse, kind in ((0.1, NMS), (0.65, LIMIT)):
        found = make_detections([(apart, 0.7, CAT), (NOWHERE, worse, CAT), (NOWHERE, 0.1, DOG)])
        examined = examine(trace_of([Region(A, (0.6, 0.1, 0.3))], found, is_full=True), make_record(1, [(A, CAT)]))
        assert examined.removed_by.tolist() == [kind]


def test_the_kinds_add_up_to_all_missed_objects() -> None:
    """Eight images, a cat in each; an object found, one ignored and one unread beside the missed ones."""
    traces = list(KINDS.values())
    records = [make_record(number, [(A, CAT)]) for number in range(len(traces) + 1)]
    records.append(make_record(50, [(A, CAT), (NOWHERE, DOG)], ignore=[True, False]))
    data = make_split(records)
    detections = {50: make_detections([(NOWHERE, 0.9, DOG)])}
    examined = {number: examine(trace, records[number]) for number, trace in enumerate(traces)}
    examined[50] = examine(trace_of([Region(NOWHERE, (0.0, 0.9, 0.1))], detections[50]), records[-1])
    explanation = explain(data, detections, evaluate_detections(data, detections), examined)
    blame = explanation.blame
    assert blame is not None
    missed = find_outcomes(explanation.split).missed(explanation.split, explanation.score_thresholds)
    assert blame.counts.sum() == missed.sum() == len(BLAMES)
    assert blame.counts.tolist() == [[1] * len(BLAMES), [0] * len(BLAMES)]
    assert blame.kinds.tolist() == [*KINDS, UNREAD, -1, -1]
    metrics = explanation.to_metrics()["stage_blame"]
    assert metrics["all"] == metrics["per_class"]["cat"] == dict.fromkeys(BLAMES, 1)
    bars = blame_bars(blame, data.class_names)
    assert [(bar.count, bar.share, bar.width, bar.classes) for bar in bars] == [(1, 12.5, 100.0, "1 cat")] * len(BLAMES)


def test_the_threshold_decides_between_score_and_nms() -> None:
    record = make_record(1, [(A, CAT)])
    split, examined = pack_split(make_split([record]), {}), examine(KINDS[NMS], record)
    assert examined.best_score.tolist() == [0.6]
    for threshold, kind in ((0.6, NMS), (0.61, BELOW_THRESHOLD)):
        blame = blame_missed(split, np.array([True]), [examined], np.array([threshold, 0.5]))
        assert blame.kinds.tolist() == [kind]


def test_a_region_belongs_to_the_object_that_it_fits_best() -> None:
    """One region for two cats that overlap: it is the cat's at A, and the other has none of its own."""
    examined = examine(trace_of([Region(A, (0.9, 0.0, 0.1))]), make_record(1, [(A, CAT), (NEAR_A, CAT)]))
    assert examined.best_score.tolist() == [0.9, -1.0]
    assert examined.otherwise.tolist() == [BELOW_THRESHOLD, POOR_BOX]


def test_nothing_to_look_at() -> None:
    assert len(examine(trace_of([]), make_record(1)).best_score) == 0
    assert examine(trace_of([]), make_record(1, [(A, CAT)])).otherwise.tolist() == [NO_PROPOSAL]
    assert blame_missed(pack_split(make_split([]), {}), np.zeros(0, np.bool_), [], THRESHOLDS).counts.sum() == 0

"""Two results on the same images: which is better, how sure that is, and on which images they differ.

Legend: I images, C classes; G ground truths and D detections over all images and classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from detection.errors import InputError
from detection.evaluation.bootstrap import CLASS_MEASURES, Resampled, resample_split, usual_resamples
from detection.evaluation.class_boxes import Bools, Ints
from detection.evaluation.explanation import DEFAULT_SCORE_THRESHOLD
from detection.evaluation.image_errors import Outcomes, find_outcomes
from detection.evaluation.intervals import METHOD, PAIRED_METHOD, Difference, subtract
from detection.evaluation.judged_file import JudgedSplit
from detection.evaluation.resampling import MEASURES


@dataclass(frozen=True)
class Side:
    """One of the two results.

    Attributes:
        judged: What was evaluated.
        outcomes: What is found, missed and false.
    """

    judged: JudgedSplit
    outcomes: Outcomes

    def found(self) -> Bools:
        """(G,) objects that a detection at or above its class's threshold finds."""
        split = self.judged.split
        return ~split.gt_ignore & ~self.outcomes.missed(split, self.judged.score_thresholds)

    def false(self) -> Bools:
        """(D,) wrong detections at or above their class's threshold."""
        return self.outcomes.false(self.judged.split, self.judged.score_thresholds)


@dataclass(frozen=True)
class Change:
    """How two results differ on one image or on all, each class of each result cut at its own best threshold.

    Attributes:
        both: Objects that both find.
        only_a: Objects that A finds and B does not.
        only_b: Objects that B finds and A does not.
        neither: Objects that neither finds.
        false_a: False detections of A.
        false_b: False detections of B.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    false_a: int
    false_b: int

    @property
    def size(self) -> int:
        """Objects that only one finds, plus the false detections that one has more than the other."""
        return self.only_a + self.only_b + abs(self.false_a - self.false_b)


@dataclass(frozen=True)
class Comparison:
    """What there is to say of two results.

    Attributes:
        a: One result.
        b: The other, with the classes in the order of A.
        measures: Name in ``MEASURES`` -> mean over the classes.
        per_class: Class name -> name in ``CLASS_MEASURES`` -> number.
        total: The changes of all images together.
        changes: Index of an image in the split -> its change; those that differ, the greatest change first.
        num_resamples: Draws of the images.
        seed: Of the draws.
    """

    a: Side
    b: Side
    measures: Mapping[str, Difference]
    per_class: Mapping[str, Mapping[str, Difference]]
    total: Change
    changes: Mapping[int, Change]
    num_resamples: int
    seed: int

    def to_document(self) -> dict[str, Any]:
        """The contents of ``compare.json``: numbers, strings and None only."""
        judged = self.a.judged
        return {
            "a": dict(judged.context),
            "b": dict(self.b.judged.context),
            "data": {"digest": judged.digest(), "num_images": judged.split.num_images},
            "method": METHOD,
            "method_of_difference": PAIRED_METHOD,
            "resamples": self.num_resamples,
            "seed": self.seed,
            "measures": {name: each.to_document() for name, each in self.measures.items()},
            "per_class": {
                class_name: {name: each.to_document() for name, each in row.items()}
                for class_name, row in self.per_class.items()
            },
            "at_best_thresholds": asdict(self.total),
            "images": [
                {"file_name": judged.file_names[image], **asdict(change)} for image, change in self.changes.items()
            ],
        }


def compare_results(a: JudgedSplit, b: JudgedSplit, *, num_resamples: int | None = None, seed: int = 0) -> Comparison:
    """Compares two results on the same images.

    Args:
        a: One result.
        b: The other; its classes may stand in another order.
        num_resamples: Draws of the images; None takes as many as are worth their time.
        seed: Of the draws.

    Raises:
        InputError: If images, labels or the number of counted detections differ; says where.
    """
    _check_comparable(a, b)
    num_resamples = num_resamples or usual_resamples(max(len(a.split.scores), len(b.split.scores)))
    names = tuple(dict.fromkeys((*a.split.class_names, *b.split.class_names)))
    first, second = _with_classes(a, names), _with_classes(b, names)
    sides = Side(first, find_outcomes(first.split)), Side(second, find_outcomes(second.split))
    resampled = [resample_judged(each, num_resamples=num_resamples, seed=seed) for each in (first, second)]
    measures, per_class = _differences(*resampled)
    columns = _count_changes(*sides)
    by_image = {image: Change(*row) for image, row in enumerate(columns.tolist())}
    greatest_first = sorted(by_image, key=lambda image: -by_image[image].size)
    return Comparison(
        a=sides[0],
        b=sides[1],
        measures=measures,
        per_class=per_class,
        total=Change(*columns.sum(axis=0).tolist()),
        changes={image: by_image[image] for image in greatest_first if by_image[image].size > 0},
        num_resamples=num_resamples,
        seed=seed,
    )


def resample_judged(judged: JudgedSplit, *, num_resamples: int | None = None, seed: int = 0) -> Resampled:
    """Matches and resamples what was evaluated, as ``resample_split`` does.

    Args:
        judged: What was evaluated.
        num_resamples: Draws of the images; None takes as many as are worth their time.
        seed: Of the draws.
    """
    return resample_split(
        judged.split,
        image_ids=judged.image_ids.tolist(),
        max_detections=judged.max_detections,
        num_resamples=num_resamples,
        seed=seed,
    )


def _differences(a: Resampled, b: Resampled) -> tuple[dict[str, Difference], dict[str, dict[str, Difference]]]:
    """Every number of both, mean and by class."""
    measures = {name: subtract(a.mean(name), b.mean(name)) for name in MEASURES}
    per_class = {
        class_name: {name: subtract(a.of_class(label, name), b.of_class(label, name)) for name in CLASS_MEASURES}
        for label, class_name in enumerate(a.class_names)
    }
    return measures, per_class


def _count_changes(a: Side, b: Side) -> Ints:
    """(I, 6) the fields of ``Change`` for each image."""
    split, found_a, found_b = a.judged.split, a.found(), b.found()
    to_find = ~split.gt_ignore
    groups = (found_a & found_b, found_a & ~found_b, found_b & ~found_a, to_find & ~found_a & ~found_b)
    columns = [np.bincount(split.gt_image[group], minlength=split.num_images) for group in groups]
    for side in (a, b):
        columns.append(np.bincount(side.judged.split.image[side.false()], minlength=split.num_images))
    return np.stack(columns, axis=1)


def _with_classes(judged: JudgedSplit, names: tuple[str, ...]) -> JudgedSplit:
    """The same result with its classes among others and in another order."""
    split = judged.split
    labels = np.array([names.index(name) for name in split.class_names], dtype=np.int64)
    thresholds = np.full(len(names), DEFAULT_SCORE_THRESHOLD)
    thresholds[labels] = judged.score_thresholds
    moved = replace(
        split,
        class_names=names,
        gt_labels=labels[split.gt_labels],
        labels=labels[split.labels],
        unjudged=np.stack([split.unjudged[:, 0], labels[split.unjudged[:, 1]]], axis=1),
    )
    return replace(judged, split=moved, score_thresholds=thresholds)


def _check_comparable(a: JudgedSplit, b: JudgedSplit) -> None:
    """Raises InputError unless both results can be compared number by number."""
    if a.digest() != b.digest():
        raise InputError(
            f"A and B were not evaluated on the same data: {_find_difference(a, b)}; "
            "evaluate both on the same data and split"
        )
    if a.max_detections != b.max_detections:
        raise InputError(
            f"A counts {a.max_detections} detections per image and class and B {b.max_detections}; "
            "evaluate both with the same --max-detections"
        )


def _find_difference(a: JudgedSplit, b: JudgedSplit) -> str:
    """The first thing in which the data differ, in words."""
    for name, some, others in (("A", a, b), ("B", b, a)):
        known = set(others.file_names)
        if alone := [file_name for file_name in some.file_names if file_name not in known]:
            counts = f"A has {len(a.file_names)} images and B {len(b.file_names)}"
            return f"{counts}, {len(alone)} of them only in {name}, such as {alone[0]}"
    if a.file_names != b.file_names:
        return "the same images come in another order"
    for image, file_name in enumerate(a.file_names):
        objects = [_describe_objects(each, image) for each in (a, b)]
        if len(objects[0]) != len(objects[1]):
            return f"{file_name} has {len(objects[0])} labelled objects in A and {len(objects[1])} in B"
        if objects[0] != objects[1]:
            return f"the labels of {file_name} differ"
    if a.unjudged() != b.unjudged():
        return f"ILSVRC's blacklist has {len(a.unjudged())} pairs of image and class in A and {len(b.unjudged())} in B"
    return "the sizes of the images differ"


def _describe_objects(judged: JudgedSplit, image: int) -> list[tuple[str, bool, list[float]]]:
    """Class, ignore mark and box of each object of an image."""
    split = judged.split
    return [
        (split.class_names[split.gt_labels[row]], bool(split.gt_ignore[row]), split.gt_boxes[row].tolist())
        for row in range(*np.searchsorted(split.gt_image, [image, image + 1]).tolist())
    ]

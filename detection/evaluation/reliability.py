"""How far the scores of detections can be believed: of those with a score near s, is the share s right?

Legend: N counted detections of one class over all images, G ground truths to be found, I images, B bins.

A detection is right or wrong as the VOC protocol at IoU 0.5 says; one on an ignored object leaves the count. The error
is the ECE of Guo et al. (1706.04599) over detections, which Kueppers et al. (2004.13546) call D-ECE, here by the score
alone. It depends on the lowest score that a detector gives: many weak detections, rightly weak, make it small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detection.data.records import DetectionData
from detection.evaluation.class_boxes import Bools, ClassBoxes, Floats, Ints, pack_by_class
from detection.evaluation.voc_map import Matches, match_for_use
from detection.structures import Detections

NUM_BINS = 10
"""Few enough that a small data set has detections in each."""


@dataclass(frozen=True)
class JudgedClass:
    """The counted detections of one class, each right or wrong; those on ignored objects are gone.

    Attributes:
        matches: N detections, best score first, and how many ground truths there are to be found.
        image: (N,) index of each detection's image in the split.
        gt_image: (G,) index of each ground truth's image.
    """

    matches: Matches
    image: Ints
    gt_image: Ints

    @property
    def scores(self) -> Floats:
        """(N,) descending."""
        return self.matches.scores

    @property
    def correct(self) -> Bools:
        """(N,) true positives."""
        return self.matches.correct

    def of_images(self, chosen: Bools) -> JudgedClass:
        """The part that lies on some images, (I,) mask. An image's detections are judged without looking at others."""
        rows, gt_rows = chosen[self.image], chosen[self.gt_image]
        matches = _rows_of(self.matches, rows, num_gt=int(np.count_nonzero(gt_rows)))
        return JudgedClass(matches, self.image[rows], self.gt_image[gt_rows])


def judge(boxes: ClassBoxes, matches: Matches) -> JudgedClass:
    """Joins what became of the detections of one class with the images they lie on.

    Args:
        boxes: The class.
        matches: From ``match_for_use(boxes)``, or another matching of them.
    """
    counted = ~matches.ignored
    judged = _rows_of(matches, counted, num_gt=matches.num_gt)
    return JudgedClass(judged, boxes.image[counted], boxes.gt_image[~boxes.gt_ignore])


def judge_split(data: DetectionData, detections: Mapping[int, Detections]) -> dict[str, JudgedClass]:
    """Judges every detection of a split by VOC matching at IoU 0.5 (``match_for_use``).

    Args:
        data: The split.
        detections: Image id -> detections in original pixels. An image without an entry has none.

    Returns:
        Class name -> its detections, in label order.

    Raises:
        ValueError: If detections belong to an unknown image or label.
    """
    judged = [judge(boxes, match_for_use(boxes)) for boxes in pack_by_class(data, detections)]
    return dict(zip(data.class_names, judged, strict=True))


def _rows_of(matches: Matches, rows: Bools, *, num_gt: int) -> Matches:
    return Matches(matches.scores[rows], matches.gt_index[rows], matches.ignored[rows], num_gt)


@dataclass(frozen=True)
class ReliabilityBin:
    """The detections with scores in one interval.

    Attributes:
        low: Lower end, included.
        high: Upper end, excluded (included in the last bin, and where bins are of equal mass).
        count: How many there are.
        score: Their mean score; None if there are none.
        precision: Share of them that is right; None if there are none.
    """

    low: float
    high: float
    count: int
    score: float | None
    precision: float | None

    def to_metrics(self) -> dict[str, float | int | None]:
        """The entry in ``metrics.json``."""
        return {
            "low": self.low,
            "high": self.high,
            "count": self.count,
            "score": self.score,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class Reliability:
    """Score and precision, bin by bin, in ascending order of the scores."""

    bins: tuple[ReliabilityBin, ...]

    @property
    def num_detections(self) -> int:
        """Detections in all bins."""
        return sum(each.count for each in self.bins)

    @property
    def ece(self) -> float | None:
        """Mean distance between score and precision, each bin weighted by its count; None without detections."""
        return self._mean_gap(absolute=True)

    @property
    def overconfidence(self) -> float | None:
        """Mean score less the share that is right: above 0 the scores promise too much; None without detections."""
        return self._mean_gap(absolute=False)

    def _mean_gap(self, *, absolute: bool) -> float | None:
        if self.num_detections == 0:
            return None
        total = 0.0
        for each in self.bins:
            if each.score is not None and each.precision is not None:
                gap = each.score - each.precision
                total += each.count * (abs(gap) if absolute else gap)
        return total / self.num_detections


def reliability(scores: Floats, correct: Bools, *, num_bins: int = NUM_BINS) -> Reliability:
    """Compares score and precision in B bins of equal width: [0, 1/B), [1/B, 2/B) .. [1 - 1/B, 1].

    Args:
        scores: (N,) in [0, 1], in any order.
        correct: (N,) which detections are right.
        num_bins: B.

    Returns:
        All B bins, the empty ones with count 0 and no numbers; they have no weight in the error.
    """
    edges = np.arange(num_bins + 1) / num_bins
    index = np.searchsorted(edges[1:-1], scores, side="right")
    bins = [
        _make_bin(scores[index == number], correct[index == number], (float(edges[number]), float(edges[number + 1])))
        for number in range(num_bins)
    ]
    return Reliability(tuple(bins))


def reliability_equal_mass(scores: Floats, correct: Bools, *, num_bins: int = NUM_BINS) -> Reliability:
    """Compares score and precision in at most B bins of nearly equal count; their ends are the extreme scores in them.

    Equal scores are never parted, so with ties the counts differ and there may be fewer bins. Nothing depends on the
    order of the detections.

    Args:
        scores: (N,) in [0, 1], in any order.
        correct: (N,) which detections are right.
        num_bins: B.

    Returns:
        The bins that hold detections; none without detections.
    """
    num_below = np.searchsorted(np.sort(scores), scores, side="left")
    index = num_below * num_bins // max(len(scores), 1)
    bins = []
    for number in np.unique(index):
        inside = scores[index == number]
        bins.append(_make_bin(inside, correct[index == number], (float(inside.min()), float(inside.max()))))
    return Reliability(tuple(bins))


def _make_bin(scores: Floats, correct: Bools, ends: tuple[float, float]) -> ReliabilityBin:
    if len(scores) == 0:
        return ReliabilityBin(*ends, 0, None, None)
    return ReliabilityBin(*ends, len(scores), float(scores.mean()), float(correct.mean()))


def pool(classes: Sequence[JudgedClass]) -> tuple[Floats, Bools]:
    """Scores and correctness of the detections of all classes, (N,) each, N over all classes."""
    scores: npt.NDArray[np.float64] = np.concatenate([np.zeros(0), *(each.scores for each in classes)])
    correct: npt.NDArray[np.bool_] = np.concatenate([np.zeros(0, np.bool_), *(each.correct for each in classes)])
    return scores, correct


def reliability_metrics(classes: Mapping[str, JudgedClass]) -> dict[str, Any]:
    """The entry ``calibration`` of ``metrics.json``: numbers and None only.

    Args:
        classes: Class name -> its judged detections.

    Returns:
        ``ece``, ``ece_equal_mass``, ``overconfidence``, ``num_detections`` and ``bins`` (of equal width) of all classes
        together; the first four for each class under ``per_class``. Without detections the errors are None.
    """
    scores, correct = pool(list(classes.values()))
    per_class = {name: _numbers(each.scores, each.correct) for name, each in classes.items()}
    bins = [each.to_metrics() for each in reliability(scores, correct).bins]
    return {**_numbers(scores, correct), "bins": bins, "per_class": per_class}


def _numbers(scores: Floats, correct: Bools) -> dict[str, float | int | None]:
    binned = reliability(scores, correct)
    return {
        "ece": binned.ece,
        "ece_equal_mass": reliability_equal_mass(scores, correct).ece,
        "overconfidence": binned.overconfidence,
        "num_detections": binned.num_detections,
    }

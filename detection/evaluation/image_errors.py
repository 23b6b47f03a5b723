"""What is found, missed and false at any score thresholds, and which images the detector gets most wrong.

Legend: G ground truths and D detections over all images and classes, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detection.evaluation.class_boxes import Bools, Floats, SplitBoxes
from detection.evaluation.voc_map import match_for_use


@dataclass(frozen=True)
class Outcomes:
    """What became of each box by VOC matching at IoU 0.5, all classes together.

    Weaker detections never change what becomes of better ones, so this holds at every threshold.

    Attributes:
        correct: (D,) detections that find an object.
        wrong: (D,) those that do not; on an ignored object a detection is neither.
        found_score: (G,) score of the detection that finds an object; minus infinity if none does.
    """

    correct: Bools
    wrong: Bools
    found_score: Floats

    def missed(self, split: SplitBoxes, score_thresholds: Floats) -> Bools:
        """(G,) objects that no detection at or above its class's threshold finds; ignored ones are never missed."""
        return np.asarray(~split.gt_ignore & (self.found_score < score_thresholds[split.gt_labels]), np.bool_)

    def false(self, split: SplitBoxes, score_thresholds: Floats) -> Bools:
        """(D,) wrong detections at or above their class's threshold."""
        return np.asarray(self.wrong & (split.scores >= score_thresholds[split.labels]), np.bool_)


@dataclass(frozen=True)
class ImageErrors:
    """The errors of one image when each class is cut at its score threshold.

    Attributes:
        image: Index of the image in the split.
        num_missed: Objects that no kept detection matches.
        num_false: Kept detections that match no object.
    """

    image: int
    num_missed: int
    num_false: int


def find_outcomes(split: SplitBoxes) -> Outcomes:
    """Matches every class by ``match_for_use``."""
    correct, wrong = np.zeros(len(split.scores), np.bool_), np.zeros(len(split.scores), np.bool_)
    found_score = np.full(len(split.gt_labels), -np.inf)
    for label in range(split.num_classes):
        rows, gt_rows = split.rows_of(label), split.gt_rows_of(label)
        matches = match_for_use(split.of_class(label))
        correct[rows], wrong[rows] = matches.correct, matches.wrong
        found_score[gt_rows[matches.gt_index[matches.correct]]] = matches.scores[matches.correct]
    return Outcomes(correct, wrong, found_score)


def rank_image_errors(split: SplitBoxes, outcomes: Outcomes, score_thresholds: Floats) -> list[ImageErrors]:
    """Lists the images with at least one error, most errors first; equal ones in the order of the split.

    Args:
        split: All boxes.
        outcomes: What became of them.
        score_thresholds: (C,) detections of a class below are not looked at.
    """
    missed_images = split.gt_image[outcomes.missed(split, score_thresholds)]
    false_images = split.image[outcomes.false(split, score_thresholds)]
    missed_counts = np.bincount(missed_images, minlength=split.num_images)
    false_counts = np.bincount(false_images, minlength=split.num_images)
    worst_first = np.argsort(-(missed_counts + false_counts), kind="stable")
    errors = [ImageErrors(int(row), int(missed_counts[row]), int(false_counts[row])) for row in worst_first]
    return [each for each in errors if each.num_missed + each.num_false > 0]

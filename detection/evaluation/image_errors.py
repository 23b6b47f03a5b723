"""Which images the detector gets most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection.evaluation.class_boxes import ClassBoxes
from detection.evaluation.voc_map import match_voc


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


def rank_image_errors(classes: Sequence[ClassBoxes], score_thresholds: Sequence[float]) -> list[ImageErrors]:
    """Lists the images with at least one error, most errors first; equal ones in the order of the split.

    Args:
        classes: The boxes of each class.
        score_thresholds: One per class; detections with a lower score are not looked at.
    """
    missed_images, false_images = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for boxes, threshold in zip(classes, score_thresholds, strict=True):
        kept = boxes.above(threshold)
        matches = match_voc(kept)
        missed = ~kept.gt_ignore
        missed[matches.gt_index[matches.correct]] = False
        missed_images.append(kept.gt_image[missed])
        false_images.append(kept.image[matches.wrong])
    all_missed, all_false = np.concatenate(missed_images), np.concatenate(false_images)
    num_images = int(max(all_missed.max(initial=-1), all_false.max(initial=-1))) + 1
    missed_counts = np.bincount(all_missed, minlength=num_images)
    false_counts = np.bincount(all_false, minlength=num_images)
    worst_first = np.argsort(-(missed_counts + false_counts), kind="stable")
    errors = [ImageErrors(int(row), int(missed_counts[row]), int(false_counts[row])) for row in worst_first]
    return [each for each in errors if each.num_missed + each.num_false > 0]

"""What became of each detection under every protocol at once: what an average precision is recomputed from.

Matching does not depend on which images count how often, so it is done once, and each resample of the images is only a
weighted recount (``bootstrap.py``).
Legend: I images, C classes, T IoU thresholds; G ground truths and D detections over all images, of one class or of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection.evaluation.class_boxes import Bools, ClassBoxes, Ints, SplitBoxes, box_areas
from detection.evaluation.coco_matching import MAX_DETECTIONS, CocoMatcher, rows_by_class
from detection.evaluation.size_bands import MAX_AREA
from detection.evaluation.voc_map import Matches, match_ilsvrc, match_voc


@dataclass(frozen=True)
class MatchedClass:
    """The detections of one class, best score first.

    Attributes:
        image: (D,) index of the image in the split.
        correct: (T, D) finds an object.
        ignored: (T, D) on an ignored object, or not counted: neither right nor wrong.
        gt_image: (N,) index of the image of each object to be found.
    """

    image: Ints
    correct: Bools
    ignored: Bools
    gt_image: Ints


@dataclass(frozen=True)
class MatchedSplit:
    """Every class under every protocol, each tuple in label order.

    Attributes:
        class_names: C names.
        num_images: I.
        coco: COCO's matching at its T = 10 thresholds, ignored objects as crowd.
        voc: That of the VOC devkits, T = 1.
        ilsvrc: That of the ILSVRC devkit, T = 1.
    """

    class_names: tuple[str, ...]
    num_images: int
    coco: tuple[MatchedClass, ...]
    voc: tuple[MatchedClass, ...]
    ilsvrc: tuple[MatchedClass, ...]


def match_split(
    split: SplitBoxes, *, image_ids: Sequence[int] | None = None, max_detections: int = MAX_DETECTIONS
) -> MatchedSplit:
    """Matches a split once under every protocol.

    Work grows with the number of detections and of overlapping pairs; COCO's ten thresholds share the overlaps.

    Args:
        split: All boxes.
        image_ids: I ids: of detections with equal scores pycocotools takes that of the lowest id first. None takes the
            order of the split.
        max_detections: Detections that COCO counts per image and class.
    """
    boxes = [split.of_class(label) for label in range(split.num_classes)]
    objects = [_objects_of(each) for each in boxes]
    of_ilsvrc = [each.without(split.unjudged_images(label)) for label, each in enumerate(boxes)]
    return MatchedSplit(
        class_names=split.class_names,
        num_images=split.num_images,
        coco=_match_coco(split, objects, image_ids=image_ids, max_detections=max_detections),
        voc=tuple(_of_devkit(each, match_voc(each)) for each in boxes),
        ilsvrc=tuple(_of_devkit(each, match_ilsvrc(each)) for each in of_ilsvrc),
    )


def _objects_of(boxes: ClassBoxes) -> Ints:
    """(N,) index of the image of each object to be found."""
    return boxes.gt_image[~boxes.gt_ignore]


def _of_devkit(boxes: ClassBoxes, matches: Matches) -> MatchedClass:
    """The matches of a devkit, which knows one threshold."""
    return MatchedClass(boxes.image, matches.correct[None], matches.ignored[None], _objects_of(boxes))


def _match_coco(
    split: SplitBoxes, objects: Sequence[Ints], *, image_ids: Sequence[int] | None, max_detections: int
) -> tuple[MatchedClass, ...]:
    """Matches all classes as pycocotools does, with the area of objects unbounded."""
    matcher = CocoMatcher.of(split, max_detections=max_detections)
    everywhere = np.zeros(len(split.gt_labels), np.bool_)
    matches = matcher.match(everywhere, box_areas(split.boxes) > MAX_AREA)
    ids = np.arange(split.num_images) if image_ids is None else np.array(image_ids, dtype=np.int64)
    return tuple(
        MatchedClass(split.image[rows], matches.correct[:, rows], matches.ignored[:, rows], objects[label])
        for label, rows in enumerate(rows_by_class(split, ids))
    )

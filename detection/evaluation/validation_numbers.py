"""The numbers of a validation during training, any of which may decide what the best weights are."""

from __future__ import annotations

from collections.abc import Mapping

from detection.data.records import DetectionData
from detection.evaluation.averages import mean_of_present
from detection.evaluation.class_boxes import ClassBoxes, pack_split
from detection.evaluation.coco_map import CocoSettings, coco_map_of
from detection.evaluation.operating_point import best_f1
from detection.evaluation.voc_map import match_voc, precision_recall, spare_ignored
from detection.structures import Detections


def validation_numbers(data: DetectionData, detections: Mapping[int, Detections]) -> dict[str, float | None]:
    """Computes the numbers of a split that a training is followed by.

    Args:
        data: The split.
        detections: Image id -> detections in original pixels. An image without an entry has none.

    Returns:
        COCO's twelve; ``F1``, the mean over the classes of the best F1 at IoU 0.5, as a report has it; and of each
        class ``AP:NAME``, ``AP50:NAME`` and ``F1:NAME``. In [0, 1], or None where there is nothing to be found.
    """
    split = pack_split(data, detections)
    coco = coco_map_of(data, split, CocoSettings())
    f1 = [_best_f1(split.of_class(label)) for label in range(split.num_classes)]
    columns = {"AP": coco.ap, "AP50": coco.ap50, "F1": f1}
    by_class = {
        f"{number}:{name}": value
        for number, values in columns.items()
        for name, value in zip(data.class_names, values, strict=True)
    }
    return {**coco.summary, "F1": mean_of_present(f1), **by_class}


def _best_f1(boxes: ClassBoxes) -> float | None:
    """Of one class at the threshold that is best for it; 0 if no detection is right."""
    if not boxes.num_gt:
        return None
    best = best_f1(precision_recall(spare_ignored(boxes, match_voc(boxes))))
    return best.f1 if best else 0.0

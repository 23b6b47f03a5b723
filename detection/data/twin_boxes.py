"""Two boxes of one image that probably mean one object: nearly the same box of one class, or one box of two classes.

Exact repeats of box and class are left out by `boxes_check` already; these here are kept, since only a person can say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from detection.data.raw import Int64Array
from detection.data.records import DetectionData, Finding, ImageRecord
from proposals.box_ops import box_iou

Float32Array: TypeAlias = npt.NDArray[np.float32]

MIN_IOU = 0.9

_BLOCK = 512  # Rows at once, so that thousands of boxes in an image need little memory.


def find_twin_boxes(parts: Sequence[DetectionData]) -> Iterator[Finding]:
    """Finds images with such boxes.

    Args:
        parts: The splits.

    Yields:
        At most one ``twin-box`` (same class, IoU of `MIN_IOU` or more) and one ``two-class-box`` (same box) an image,
        with the first pair and the number of pairs. Ignored objects, such as crowds, do not count.
    """
    for part in parts:
        for image in part.images:
            rows = np.flatnonzero(~image.ignore)
            if len(rows) > 1:
                yield from _find_twins(image, rows, part.class_names)


def _find_twins(image: ImageRecord, rows: Int64Array, class_names: Sequence[str]) -> Iterator[Finding]:
    boxes, labels = image.boxes[rows], image.labels[rows]
    earlier, later = _overlapping_pairs(boxes)
    same_class = labels[earlier] == labels[later]
    same_box = (boxes[earlier] == boxes[later]).all(axis=1)
    for kind, pairs in (("twin-box", same_class), ("two-class-box", same_box & ~same_class)):
        if not pairs.any():
            continue
        first, second = earlier[pairs][0], later[pairs][0]
        names = class_names[labels[first]], class_names[labels[second]]
        more = f", as are {pairs.sum() - 1} more pairs" if pairs.sum() > 1 else ""
        if kind == "twin-box":
            both = f"{_text(boxes[first])} and {_text(boxes[second])}"
            message, remedy = (
                f"two boxes of '{names[0]}' nearly cover each other: {both}",
                "delete one of them; both kept",
            )
        else:
            message = f"the box {_text(boxes[first])} is both '{names[0]}' and '{names[1]}'"
            remedy = "delete the wrong one; both kept"
        yield Finding(kind, image.file_name, message + more, remedy)


def _overlapping_pairs(boxes: Float32Array) -> tuple[Int64Array, Int64Array]:
    """Rows of the pairs of (N, 4) xyxy boxes with an IoU of `MIN_IOU` or more, each once, by the earlier row."""
    earlier, later = [], []
    for start in range(0, len(boxes), _BLOCK):
        overlaps = box_iou(torch.from_numpy(boxes[start : start + _BLOCK]), torch.from_numpy(boxes)).numpy()
        first, second = np.nonzero(overlaps >= MIN_IOU)
        is_new = first + start < second
        earlier.append(first[is_new] + start)
        later.append(second[is_new])
    return np.concatenate(earlier), np.concatenate(later)


def _text(box: Float32Array) -> str:
    return "x1 {:g}, y1 {:g}, x2 {:g}, y2 {:g}".format(*box.tolist())

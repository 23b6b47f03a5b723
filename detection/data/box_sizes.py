"""The sizes of a data set's objects, which priors are fitted to. Legend: N objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from detection.data.records import ImageRecord
from detection.preprocess import resized_size


def boxes_in_image_units(records: Sequence[ImageRecord]) -> npt.NDArray[np.float32]:
    """All objects (N, 4) xyxy, x by the width and y by the height of their image; ignored ones left out."""
    boxes = [np.zeros((0, 4), dtype=np.float32)]
    for record in records:
        height, width = record.size_hw
        size = np.array([width, height, width, height], dtype=np.float32)
        boxes.append(np.divide(record.boxes[~record.ignore], size, dtype=np.float32))
    return np.concatenate(boxes)


def box_sizes(records: Sequence[ImageRecord], longest_side: int) -> npt.NDArray[np.float32]:
    """Widths and heights (N, 2) of all objects as the network will see them; ignored ones left out.

    Args:
        records: The images.
        longest_side: Longer side of the network's input in pixels.
    """
    sizes = [np.zeros((0, 2), dtype=np.float32)]
    for record in records:
        height, width = resized_size(record.size_hw, longest_side)
        boxes = record.boxes[~record.ignore]
        scale = np.array([width / record.size_hw[1], height / record.size_hw[0]], dtype=np.float32)
        sizes.append((boxes[:, 2:] - boxes[:, :2]) * scale)
    return np.concatenate(sizes)

"""What every reader of a data set returns, whatever the format on disk.

Legend: G ground truths of one image, C classes. Boxes are float32 xyxy in pixels of the upright image (EXIF applied),
pixel edges, half-open: VOC's 1-based inclusive boxes have entered as (xmin - 1, ymin - 1, xmax, ymax).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Finding:
    """One fault of a data set, precise enough to mend it.

    Attributes:
        kind: Stable short name, for example ``degenerate-box``.
        file: The file at fault, as the user wrote it (relative to the data folder).
        message: What is wrong, with the object's number and value, and what was expected.
        remedy: What the user can do, and what the program did meanwhile.
    """

    kind: str
    file: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}; {self.remedy}"


@dataclass(frozen=True)
class ImageRecord:
    """One image and its labelled objects.

    Attributes:
        image_id: The id of the data set (COCO), or the 1-based position in the split.
        path: Where the image lies.
        file_name: Name relative to the data folder's image folder, with forward slashes.
        size_hw: Height and width in pixels of the upright image.
        boxes: (G, 4) float32 xyxy.
        labels: (G,) int64 in [0, C).
        ignore: (G,) bool: crowd or difficult.
        area: (G,) float32, object area in square pixels: the file's own figure (COCO) or the box area.
    """

    image_id: int
    path: Path
    file_name: str
    size_hw: tuple[int, int]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.bool_]
    area: npt.NDArray[np.float32]


@dataclass(frozen=True)
class DetectionData:
    """One split of a data set, read and checked.

    Attributes:
        root: The folder that was given.
        split: The split that was asked for.
        format: ``voc``, ``coco``, ``yolo`` or ``ilsvrc``.
        reason: Why the folder was taken for that format, in a few words.
        class_names: C names; a label indexes into them.
        category_ids: C original ids (COCO's and ILSVRC's, gaps kept), else VOC 1..C and YOLO 0..C-1.
        images: The images, in the order of the split. Images without objects are kept.
        findings: Everything that was wrong; faulty boxes are mended (clipped) or left out and named here.
        groups: Category id -> name of what the files call a category, but only groups others; no label stands for it.
        other_ids: Id under which the files list an image once more -> its image id.
        unreadable: Ids of images that were left out, as they are missing or broken, or their label files are.
        unjudged: (image id, label) of the classes that ILSVRC's devkit does not judge on an image: its blacklist.
    """

    root: Path
    split: str
    format: str
    reason: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[ImageRecord, ...]
    findings: tuple[Finding, ...]
    groups: Mapping[int, str] = field(default_factory=dict)
    other_ids: Mapping[int, int] = field(default_factory=dict)
    unreadable: frozenset[int] = frozenset()
    unjudged: frozenset[tuple[int, int]] = frozenset()

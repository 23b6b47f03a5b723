"""The figures of a split: how many images and objects, of which classes, sizes and shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from detection.data.records import DetectionData

MAX_IMAGE_SIZES = 8
"""Image sizes that are told one by one, the most frequent ones."""

_SIDES_PX = (8, 16, 32, 64, 128, 256, 512)  # 32 and 96 bound COCO's small and medium; octaves show more.
_SHAPES = {"1:4": 1 / 4, "1:2": 1 / 2, "3:4": 3 / 4, "4:3": 4 / 3, "2:1": 2, "4:1": 4}  # Width to height.
_COUNTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class SplitSummary:
    """The figures of one split.

    Attributes:
        split: Its name.
        num_images: Images that can be opened.
        num_empty_images: Those without a single object.
        num_objects: Objects after the check, ignored ones too.
        num_ignored: Crowd and difficult objects.
        objects_per_class: Class name -> number of objects, in label order.
        category_ids: Class name -> category id.
        smallest_box_wh: Width and height in pixels of the box with the smallest area; None without boxes.
        largest_box_wh: The same of the largest.
        box_sides: Range of the square root of box area, in pixels -> number of boxes.
        box_shapes: Range of width to height -> number of boxes.
        objects_per_image: Range of the number of objects -> number of images.
        image_sizes: ``width x height`` -> number of images, the most frequent first, the rest together.
    """

    split: str
    num_images: int
    num_empty_images: int
    num_objects: int
    num_ignored: int
    objects_per_class: Mapping[str, int]
    category_ids: Mapping[str, int]
    smallest_box_wh: tuple[float, float] | None
    largest_box_wh: tuple[float, float] | None
    box_sides: Mapping[str, int]
    box_shapes: Mapping[str, int]
    objects_per_image: Mapping[str, int]
    image_sizes: Mapping[str, int]


def summarize_split(data: DetectionData) -> SplitSummary:
    """Counts images and objects of a split; one without images or objects has zeros everywhere."""
    labels = np.concatenate([np.zeros(0, np.int64), *(image.labels for image in data.images)])
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(image.boxes for image in data.images)])
    counts = np.bincount(labels, minlength=len(data.class_names)).tolist()
    sides = boxes[:, 2:] - boxes[:, :2]
    area = sides.prod(axis=1)
    by_area = np.argsort(area, kind="stable")
    per_image = np.array([len(image.boxes) for image in data.images], np.int64)
    return SplitSummary(
        split=data.split,
        num_images=len(data.images),
        num_empty_images=int((per_image == 0).sum()),
        num_objects=len(boxes),
        num_ignored=sum(int(image.ignore.sum()) for image in data.images),
        objects_per_class=dict(zip(data.class_names, counts, strict=True)),
        category_ids=dict(zip(data.class_names, data.category_ids, strict=True)),
        smallest_box_wh=(float(sides[by_area[0], 0]), float(sides[by_area[0], 1])) if len(boxes) else None,
        largest_box_wh=(float(sides[by_area[-1], 0]), float(sides[by_area[-1], 1])) if len(boxes) else None,
        box_sides=_histogram(np.sqrt(area), _SIDES_PX, [str(side) for side in _SIDES_PX]),
        box_shapes=_histogram(sides[:, 0] / sides[:, 1], list(_SHAPES.values()), list(_SHAPES)),
        objects_per_image=_count_histogram(per_image),
        image_sizes=_image_sizes(data),
    )


def _histogram(values: npt.NDArray[np.float32], bounds: Sequence[float], names: Sequence[str]) -> dict[str, int]:
    """Numbers of values below the first bound, between neighbours (the lower one included) and from the last on."""
    counts = np.bincount(np.searchsorted(bounds, values, side="right"), minlength=len(bounds) + 1).tolist()
    between = [f"{low} to {high}" for low, high in pairwise(names)]
    return dict(zip((f"below {names[0]}", *between, f"from {names[-1]}"), counts, strict=True))


def _count_histogram(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """Numbers of images with no object, one, two to three, four to seven ..."""
    bins = np.bincount(np.searchsorted(_COUNTS, counts, side="right"), minlength=len(_COUNTS) + 1).tolist()
    between = [str(low) if high == low + 1 else f"{low} to {high - 1}" for low, high in pairwise(_COUNTS)]
    return dict(zip(("0", *between, f"from {_COUNTS[-1]}"), bins, strict=True))


def _image_sizes(data: DetectionData) -> dict[str, int]:
    counts = Counter(f"{image.size_hw[1]}x{image.size_hw[0]}" for image in data.images)
    sizes = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_IMAGE_SIZES])
    others = len(data.images) - sum(sizes.values())
    return sizes | ({"other sizes": others} if others else {})

"""Ground truths and detections of a split, packed: all together, or class by class as VOC and ILSVRC match them.

Legend: I images of the split, C classes; G ground truths and D detections, of one class or of all, over all images.
Boxes are xyxy in pixels of the original image, half-open; float64, so that a bound is met exactly where it should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from detection.data.records import DetectionData
from detection.structures import Detections

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CPU = torch.device("cpu")


@dataclass(frozen=True)
class ClassBoxes:
    """All boxes of one class.

    Attributes:
        gt_boxes: (G, 4) ground truths, image after image.
        gt_ignore: (G,) difficult or crowd: neither to be found nor wrong to find.
        gt_image: (G,) index of the image in the split, ascending.
        boxes: (D, 4) detections, best score first; equal scores keep the order of the images.
        scores: (D,) descending.
        image: (D,) index of the image in the split.
    """

    gt_boxes: Floats
    gt_ignore: Bools
    gt_image: Ints
    boxes: Floats
    scores: Floats
    image: Ints

    @property
    def num_gt(self) -> int:
        """Ground truths that a detector should find: those not ignored."""
        return int(np.count_nonzero(~self.gt_ignore))

    def without(self, images: Ints) -> ClassBoxes:
        """The boxes that lie in no image of these, (N,) indices in the split."""
        if not len(images):
            return self
        gt, found = ~np.isin(self.gt_image, images), ~np.isin(self.image, images)
        truth = (self.gt_boxes[gt], self.gt_ignore[gt], self.gt_image[gt])
        return ClassBoxes(*truth, self.boxes[found], self.scores[found], self.image[found])

    def overlaps(self) -> Iterator[tuple[Ints, Ints, Floats]]:
        """Yields detection rows (d,), ground truth rows (g,) and IoU (d, g) of each image that has both.

        The detection rows of an image come best score first.
        """
        by_image = np.argsort(self.image, kind="stable")
        images = np.intersect1d(self.image, self.gt_image)
        starts, stops = _runs(self.image[by_image], images)
        gt_starts, gt_stops = _runs(self.gt_image, images)
        for start, stop, gt_start, gt_stop in zip(starts, stops, gt_starts, gt_stops, strict=True):
            rows, gt_rows = by_image[start:stop], np.arange(gt_start, gt_stop)
            yield rows, gt_rows, pairwise_iou(self.boxes[rows], self.gt_boxes[gt_rows])


@dataclass(frozen=True)
class SplitBoxes:
    """All boxes of all classes.

    Attributes:
        class_names: C names.
        num_images: I.
        gt_boxes: (G, 4) ground truths, image after image, within an image in the order of its record.
        gt_labels: (G,) in [0, C).
        gt_ignore: (G,) difficult or crowd.
        gt_image: (G,) index of the image in the split, ascending.
        boxes: (D, 4) detections, best score first; equal scores keep the order of the images.
        scores: (D,) descending.
        labels: (D,) in [0, C).
        image: (D,) index of the image in the split.
        unjudged: (N, 2) index of the image and label of the pairs that ILSVRC's devkit does not judge, in their order.
    """

    class_names: tuple[str, ...]
    num_images: int
    gt_boxes: Floats
    gt_labels: Ints
    gt_ignore: Bools
    gt_image: Ints
    boxes: Floats
    scores: Floats
    labels: Ints
    image: Ints
    unjudged: Ints = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    def gt_counts(self) -> Ints:
        """(C,) ground truths to be found."""
        return np.bincount(self.gt_labels[~self.gt_ignore], minlength=self.num_classes)

    def gt_rows_of(self, label: int) -> Ints:
        """Rows of the ground truths of a class: row r of ``of_class(label)`` is the r-th of them."""
        return np.flatnonzero(self.gt_labels == label)

    def rows_of(self, label: int) -> Ints:
        """Rows of the detections of a class: row r of ``of_class(label)`` is the r-th of them."""
        return np.flatnonzero(self.labels == label)

    def of_class(self, label: int) -> ClassBoxes:
        """The boxes of one class."""
        gt_rows, rows = self.gt_rows_of(label), self.rows_of(label)
        truth = (self.gt_boxes[gt_rows], self.gt_ignore[gt_rows], self.gt_image[gt_rows])
        return ClassBoxes(*truth, self.boxes[rows], self.scores[rows], self.image[rows])

    def unjudged_images(self, label: int) -> Ints:
        """(N,) indices of the images on which ILSVRC's devkit does not judge a class."""
        return self.unjudged[self.unjudged[:, 1] == label, 0]

    def by_image(self, chosen: Bools) -> Iterator[tuple[Ints, Ints]]:
        """Yields the rows (d,) of the chosen detections of each image that has any, and of its ground truths (g,).

        The detection rows come best score first.

        Args:
            chosen: (D,) which detections.
        """
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(self.image[rows], kind="stable")]
        images = np.unique(self.image[rows])
        starts, stops = _runs(self.image[rows], images)
        gt_starts, gt_stops = _runs(self.gt_image, images)
        for start, stop, gt_start, gt_stop in zip(starts, stops, gt_starts, gt_stops, strict=True):
            yield rows[start:stop], np.arange(gt_start, gt_stop)


def pack_by_class(data: DetectionData, detections: Mapping[int, Detections]) -> tuple[ClassBoxes, ...]:
    """Sorts the boxes of a split by class, in label order; arguments and errors as for ``pack_split``."""
    split = pack_split(data, detections)
    return tuple(split.of_class(label) for label in range(split.num_classes))


def pack_split(data: DetectionData, detections: Mapping[int, Detections]) -> SplitBoxes:
    """Puts all boxes of a split into a few arrays.

    Args:
        data: The split.
        detections: Image id -> detections, labels in [0, C). An image without an entry has none.

    Raises:
        ValueError: If detections belong to an image that the split does not have, or to a label outside [0, C).
    """
    _check_known(data, detections)
    found = [detections.get(record.image_id, Detections.empty(record.size_hw)).to(CPU) for record in data.images]
    gt_counts = [len(record.labels) for record in data.images]
    scores = _stack([each.scores.numpy() for each in found])
    image = np.repeat(np.arange(len(found)), np.array([len(each) for each in found], dtype=np.int64))
    order = np.argsort(-scores, kind="stable")
    index_of = {record.image_id: index for index, record in enumerate(data.images)}
    unjudged = sorted((index_of[image_id], label) for image_id, label in data.unjudged if image_id in index_of)
    return SplitBoxes(
        class_names=tuple(data.class_names),
        num_images=len(data.images),
        gt_boxes=_stack([record.boxes for record in data.images], width=4),
        gt_labels=_stack([record.labels for record in data.images]).astype(np.int64),
        gt_ignore=_stack([record.ignore for record in data.images]).astype(np.bool_),
        gt_image=np.repeat(np.arange(len(gt_counts)), np.array(gt_counts, dtype=np.int64)),
        boxes=_stack([each.boxes.numpy() for each in found], width=4)[order],
        scores=scores[order],
        labels=_stack([each.labels.numpy() for each in found]).astype(np.int64)[order],
        image=image[order],
        unjudged=np.array(unjudged, dtype=np.int64).reshape(-1, 2),
    )


def pairwise_iou(boxes: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> Floats:
    """Intersection over union of every box with every other, (N, 4) x (M, 4) -> (N, M) float64.

    Boxes are half-open, so a VOC box entered as (xmin - 1, ymin - 1, xmax, ymax) gives the devkit's "+1" IoU.
    Boxes without area overlap nothing. N = 0 or M = 0 gives an empty matrix.
    """
    intersection = _intersection(boxes, others)
    areas = box_areas(boxes)[:, None] + box_areas(others)[None, :]
    iou = np.zeros_like(intersection)
    np.divide(intersection, areas - intersection, out=iou, where=areas > intersection)
    return iou


def share_inside(boxes: npt.NDArray[np.floating], regions: npt.NDArray[np.floating]) -> Floats:
    """Share of every box that lies in each region, (N, 4) x (M, 4) -> (N, M): the overlap of COCO with crowds.

    A box without area has no share anywhere.
    """
    intersection = _intersection(boxes, regions)
    areas = np.broadcast_to(box_areas(boxes)[:, None], intersection.shape)
    share = np.zeros_like(intersection)
    np.divide(intersection, areas, out=share, where=areas > 0)
    return share


def _intersection(boxes: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> Floats:
    """Common area of every box with every other, (N, 4) x (M, 4) -> (N, M)."""
    rows, columns = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None, :]
    top_left = np.maximum(rows[..., :2], columns[..., :2])
    bottom_right = np.minimum(rows[..., 2:], columns[..., 2:])
    return _product_of_sides(np.maximum(bottom_right - top_left, 0.0))


def box_areas(boxes: npt.NDArray[np.floating]) -> Floats:
    """Area of every box, (N, 4) -> (N,) float64 square pixels."""
    corners = boxes.astype(np.float64)
    return _product_of_sides(corners[:, 2:] - corners[:, :2])


def _product_of_sides(sides: Floats) -> Floats:
    """Area of boxes from their width and height, (.., 2) -> (..)."""
    return sides[..., 0] * sides[..., 1]


def _runs(sorted_values: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """First row and the row after the last of each wanted value."""
    return np.searchsorted(sorted_values, wanted, "left"), np.searchsorted(sorted_values, wanted, "right")


def _stack(columns: list[npt.NDArray[np.generic]], *, width: int | None = None) -> Floats:
    """Joins the rows of all images as float64; no images give no rows."""
    empty = np.zeros((0, width) if width else 0)
    return np.concatenate([empty, *columns]).astype(np.float64)


def _check_known(data: DetectionData, detections: Mapping[int, Detections]) -> None:
    """Raises ValueError for detections that no image or no class of the split can own."""
    unknown = detections.keys() - {record.image_id for record in data.images}
    if unknown:
        raise ValueError(f"detections for image id {min(unknown)}, which is not in split '{data.split}'")
    for image_id, found in detections.items():
        if len(found) and not 0 <= int(found.labels.min()) <= int(found.labels.max()) < len(data.class_names):
            raise ValueError(f"detections of image id {image_id} have labels outside [0, {len(data.class_names)})")

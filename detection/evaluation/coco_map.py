"""The COCO detection numbers, computed by pycocotools on objects built in memory.

Legend: T IoU thresholds, R recall points, K classes, A area bands, M detection limits: the axes of pycocotools' tables.

Facts of pycocotools 2.0.11 that decide how it is called here: it takes the annotation id 0 for "unmatched" (ids start
at 1), its ``loadRes`` fails on an empty list (both sides are built directly), it answers -1 for what does not exist
(None here), it prints progress (caught), and it compares areas in the pixels of the annotation (the original image's).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.data.records import DetectionData
from detection.evaluation.size_bands import MAX_AREA, SizeBands
from detection.structures import Detections

MAX_DETECTIONS = 100
"""Detections counted per image and class, best score first, unless another number is asked for."""

AREA_BANDS = SizeBands().areas
"""COCO's bands of object area in square pixels of the original image; both ends belong to a band, as in pycocotools."""


@dataclass(frozen=True)
class CocoSettings:
    """What may be chosen about the COCO numbers.

    Attributes:
        bands: Sizes of objects that are told apart.
        max_detections: Detections counted per image and class.
    """

    bands: SizeBands = field(default_factory=SizeBands)
    max_detections: int = MAX_DETECTIONS

    def __post_init__(self) -> None:
        if self.max_detections < 1:
            raise ValueError(f"max_detections is {self.max_detections}, expected 1 or more")

    @property
    def protocol(self) -> str:
        """How the numbers are computed, in words."""
        return f"pycocotools, IoU .50:.05:.95, 101 recall points, {self.max_detections} detections per image and class"

    @property
    def limits(self) -> list[int]:
        """Numbers of detections for which recall is told: 1, 10 and the greatest."""
        return sorted({limit for limit in (1, 10) if limit < self.max_detections} | {self.max_detections})

    def summary(self) -> dict[str, SummaryNumber]:
        """The numbers by name; with the default settings the twelve of COCO in its order."""
        most = self.max_detections
        numbers = {
            "AP": SummaryNumber("precision", most),
            "AP50": SummaryNumber("precision", most, iou=0.5),
            "AP75": SummaryNumber("precision", most, iou=0.75),
        }
        numbers |= {f"AP{name[0]}": SummaryNumber("precision", most, area=name) for name in self.bands.names}
        numbers |= {f"AR{limit}": SummaryNumber("recall", limit) for limit in self.limits}
        numbers |= {f"AR{name[0]}": SummaryNumber("recall", most, area=name) for name in self.bands.names}
        return numbers


@dataclass(frozen=True)
class SummaryNumber:
    """Which part of the tables is averaged into one number.

    Attributes:
        table: ``precision`` (T, R, K, A, M) or ``recall`` (T, K, A, M).
        max_detections: Detections per image and class.
        iou: The one IoU threshold, or None for the mean over .50:.05:.95.
        area: Band of object size.
    """

    table: str
    max_detections: int
    iou: float | None = None
    area: str = "all"


@dataclass(frozen=True)
class CocoMap:
    """The COCO numbers of one split; None where a number does not exist (nothing to be found).

    Attributes:
        summary: Name of ``CocoSettings.summary`` -> value in [0, 1].
        ap: K values, mean over IoU .50:.05:.95, per class.
        ap50: K values at IoU 0.5.
        ap_by_band: Band -> K values, mean over IoU .50:.05:.95, of its objects.
    """

    summary: Mapping[str, float | None]
    ap: tuple[float | None, ...]
    ap50: tuple[float | None, ...]
    ap_by_band: Mapping[str, tuple[float | None, ...]]


def coco_map(
    data: DetectionData, detections: Mapping[int, Detections], settings: CocoSettings | None = None
) -> CocoMap:
    """Computes the COCO numbers of a split.

    Ignored objects count as crowd: they need not be found, and any number of detections may fall on one.

    Args:
        data: The split.
        detections: Image id -> detections in original pixels. An image without an entry has none.
        settings: Bands of size and number of detections; None takes COCO's.

    Returns:
        The numbers; with objects but no detections at all, every AP is 0.
    """
    settings = settings or CocoSettings()
    labels = range(len(data.class_names))
    categories = [{"id": label, "name": name} for label, name in zip(labels, data.class_names, strict=True)]
    images = [{"id": record.image_id} for record in data.images]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _coco_object(images, categories, _truth_rows(data, settings.bands))
        found = _coco_object(images, categories, _detection_rows(data, detections, settings.bands))
        evaluator = COCOeval(truth, found, "bbox")
        evaluator.params.maxDets = settings.limits
        evaluator.params.areaRngLbl = ["all", *settings.bands.areas]
        evaluator.params.areaRng = [[0, MAX_AREA], *map(list, settings.bands.areas.values())]
        evaluator.evaluate()
        evaluator.accumulate()
    numbers = settings.summary()
    return CocoMap(
        summary={name: _mean(_select(evaluator, number)) for name, number in numbers.items()},
        ap=_per_class(evaluator, numbers["AP"]),
        ap50=_per_class(evaluator, numbers["AP50"]),
        ap_by_band={name: _per_class(evaluator, numbers[f"AP{name[0]}"]) for name in settings.bands.names},
    )


def count_per_band(data: DetectionData, bands: SizeBands | None = None) -> dict[str, tuple[int, ...]]:
    """Counts the objects to be found: band -> K numbers; one exactly on a bound is in both, as in pycocotools."""
    bands = bands or SizeBands()
    sizes = np.concatenate([np.zeros(0), *(bands.measure(record.area, record.size_hw) for record in data.images)])
    labels = np.concatenate([np.zeros(0, np.int64), *(record.labels for record in data.images)])
    to_find = ~np.concatenate([np.zeros(0, np.bool_), *(record.ignore for record in data.images)])
    inside = {name: to_find & (sizes >= low) & (sizes <= high) for name, (low, high) in bands.areas.items()}
    num_classes = len(data.class_names)
    return {name: tuple(np.bincount(labels[rows], minlength=num_classes).tolist()) for name, rows in inside.items()}


def crowded_images(data: DetectionData, *, max_detections: int = MAX_DETECTIONS) -> dict[str, int]:
    """File name -> objects of its most frequent class, where these are more than detections are counted."""
    counts = {}
    for record in data.images:
        most = int(np.bincount(record.labels[~record.ignore], minlength=1).max())
        if most > max_detections:
            counts[record.file_name] = most
    return counts


def overfull_images(data: DetectionData, *, max_detections: int) -> dict[str, int]:
    """File name -> objects to be found, where these are more than an image can have detections."""
    counts = {record.file_name: int(np.sum(~record.ignore)) for record in data.images}
    return {file_name: count for file_name, count in counts.items() if count > max_detections}


def _truth_rows(data: DetectionData, bands: SizeBands) -> list[dict[str, Any]]:
    """Annotations of the split, without ids; their ``area`` is in the unit of the bands."""
    rows = []
    for record in data.images:
        sizes = bands.measure(record.area, record.size_hw).tolist()
        columns = (_xywh(record.boxes), record.labels.tolist(), record.ignore.tolist(), sizes)
        for bbox, label, ignore, size in zip(*columns, strict=True):
            row = {"image_id": record.image_id, "category_id": label, "bbox": bbox}
            rows.append(row | {"iscrowd": int(ignore), "area": size})
    return rows


def _detection_rows(
    data: DetectionData, detections: Mapping[int, Detections], bands: SizeBands
) -> list[dict[str, Any]]:
    """Results as ``loadRes`` would complete them (area, iscrowd), without ids."""
    rows = []
    for record in data.images:
        found = detections.get(record.image_id)
        if found is None:
            continue
        boxes = _xywh(found.boxes.cpu().numpy())
        sizes = bands.measure(np.array([box[2] * box[3] for box in boxes]), record.size_hw).tolist()
        columns = (boxes, found.labels.tolist(), found.scores.tolist(), sizes)
        for bbox, label, score, size in zip(*columns, strict=True):
            row = {"image_id": record.image_id, "category_id": label, "bbox": bbox, "score": score}
            rows.append(row | {"iscrowd": 0, "area": size})
    return rows


def _xywh(boxes: npt.NDArray[np.float32]) -> list[list[float]]:
    """(N, 4) xyxy -> N lists [x, y, width, height], subtracted in double precision."""
    corners = boxes.astype(np.float64)
    rows: list[list[float]] = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
    return rows


def _coco_object(images: list[dict[str, Any]], categories: list[dict[str, Any]], rows: list[dict[str, Any]]) -> COCO:
    """Builds a COCO object without a file; annotation ids count from 1."""
    coco = COCO()
    annotations = [row | {"id": number} for number, row in enumerate(rows, start=1)]
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    coco.createIndex()
    return coco


def _select(evaluator: COCOeval, number: SummaryNumber) -> npt.NDArray[np.float64]:
    """The entries of a table that make one number, class axis last: (.., K)."""
    params = evaluator.params
    band = params.areaRngLbl.index(number.area)
    limit = params.maxDets.index(number.max_detections)
    table: npt.NDArray[np.float64] = evaluator.eval[number.table][..., band, limit]
    return table if number.iou is None else table[np.isclose(params.iouThrs, number.iou)]


def _per_class(evaluator: COCOeval, number: SummaryNumber) -> tuple[float | None, ...]:
    """One number for each class alone."""
    table = _select(evaluator, number)
    return tuple(_mean(table[..., label]) for label in range(table.shape[-1]))


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """Mean of the entries that exist (pycocotools marks the others -1), None if none does."""
    present = values[values > -1]
    return float(np.mean(present)) if present.size else None

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
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.data.records import DetectionData
from detection.structures import Detections

MAX_DETECTIONS = 100
"""Detections counted per image and class, best score first."""

AREA_BANDS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Object area in square pixels of the original image; both ends belong to the band, as in pycocotools."""


@dataclass(frozen=True)
class SummaryNumber:
    """Which part of the tables is averaged into one number.

    Attributes:
        table: ``precision`` (T, R, K, A, M) or ``recall`` (T, K, A, M).
        iou: The one IoU threshold, or None for the mean over .50:.05:.95.
        area: Band of object area.
        max_detections: Detections per image and class.
    """

    table: str
    iou: float | None = None
    area: str = "all"
    max_detections: int = MAX_DETECTIONS


SUMMARY = {
    "AP": SummaryNumber("precision"),
    "AP50": SummaryNumber("precision", iou=0.5),
    "AP75": SummaryNumber("precision", iou=0.75),
    "APs": SummaryNumber("precision", area="small"),
    "APm": SummaryNumber("precision", area="medium"),
    "APl": SummaryNumber("precision", area="large"),
    "AR1": SummaryNumber("recall", max_detections=1),
    "AR10": SummaryNumber("recall", max_detections=10),
    "AR100": SummaryNumber("recall"),
    "ARs": SummaryNumber("recall", area="small"),
    "ARm": SummaryNumber("recall", area="medium"),
    "ARl": SummaryNumber("recall", area="large"),
}
"""The twelve numbers of COCO, in its order."""


@dataclass(frozen=True)
class CocoMap:
    """The COCO numbers of one split; None where a number does not exist (nothing to be found).

    Attributes:
        summary: Name of ``SUMMARY`` -> value in [0, 1].
        ap: K values, mean over IoU .50:.05:.95, per class.
        ap50: K values at IoU 0.5.
    """

    summary: Mapping[str, float | None]
    ap: tuple[float | None, ...]
    ap50: tuple[float | None, ...]


def coco_map(data: DetectionData, detections: Mapping[int, Detections]) -> CocoMap:
    """Computes the COCO numbers of a split.

    Ignored objects count as crowd: they need not be found, and any number of detections may fall on one.

    Args:
        data: The split.
        detections: Image id -> detections in original pixels. An image without an entry has none.

    Returns:
        The numbers; with objects but no detections at all, every AP is 0.
    """
    labels = range(len(data.class_names))
    categories = [{"id": label, "name": name} for label, name in zip(labels, data.class_names, strict=True)]
    images = [{"id": record.image_id} for record in data.images]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _coco_object(images, categories, _truth_rows(data))
        found = _coco_object(images, categories, _detection_rows(detections))
        evaluator = COCOeval(truth, found, "bbox")
        evaluator.params.maxDets = [1, 10, MAX_DETECTIONS]
        evaluator.evaluate()
        evaluator.accumulate()
    summary = {name: _mean(_select(evaluator, number)) for name, number in SUMMARY.items()}
    return CocoMap(summary, _per_class(evaluator, SUMMARY["AP"]), _per_class(evaluator, SUMMARY["AP50"]))


def count_per_band(data: DetectionData) -> dict[str, int]:
    """Counts the objects to be found in each area band; one exactly on a bound is in both, as in pycocotools."""
    areas = np.concatenate([np.zeros(0), *(record.area[~record.ignore] for record in data.images)])
    return {band: int(np.sum((areas >= low) & (areas <= high))) for band, (low, high) in AREA_BANDS.items()}


def crowded_images(data: DetectionData) -> dict[str, int]:
    """File name -> objects of its most frequent class, where these are more than COCO counts detections for."""
    counts = {}
    for record in data.images:
        most = int(np.bincount(record.labels[~record.ignore], minlength=1).max())
        if most > MAX_DETECTIONS:
            counts[record.file_name] = most
    return counts


def overfull_images(data: DetectionData, *, max_detections: int) -> dict[str, int]:
    """File name -> objects to be found, where these are more than an image can have detections."""
    counts = {record.file_name: int(np.sum(~record.ignore)) for record in data.images}
    return {file_name: count for file_name, count in counts.items() if count > max_detections}


def _truth_rows(data: DetectionData) -> list[dict[str, Any]]:
    """Annotations of the split, without ids."""
    rows = []
    for record in data.images:
        columns = (_xywh(record.boxes), record.labels.tolist(), record.ignore.tolist(), record.area.tolist())
        for bbox, label, ignore, area in zip(*columns, strict=True):
            row = {"image_id": record.image_id, "category_id": label, "bbox": bbox}
            rows.append(row | {"iscrowd": int(ignore), "area": area})
    return rows


def _detection_rows(detections: Mapping[int, Detections]) -> list[dict[str, Any]]:
    """Results as ``loadRes`` would complete them (area, iscrowd), without ids."""
    rows = []
    for image_id, found in detections.items():
        columns = (_xywh(found.boxes.cpu().numpy()), found.labels.tolist(), found.scores.tolist())
        for bbox, label, score in zip(*columns, strict=True):
            row = {"image_id": image_id, "category_id": label, "bbox": bbox, "score": score}
            rows.append(row | {"iscrowd": 0, "area": bbox[2] * bbox[3]})
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

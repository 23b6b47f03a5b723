"""Small splits and detections built in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from detection.data.records import DetectionData, Finding, ImageRecord
from detection.structures import Detections

Box = Sequence[float]
SIZE_HW = (200, 300)


def make_record(
    image_id: int,
    objects: Sequence[tuple[Box, int]] = (),
    *,
    ignore: Sequence[bool] | None = None,
    area: Sequence[float] | None = None,
    path: Path = Path("missing.jpg"),
) -> ImageRecord:
    """One image of ``SIZE_HW`` with (box, label) objects; ``area`` defaults to the box areas."""
    boxes = np.array([box for box, _ in objects], dtype=np.float32).reshape(-1, 4)
    box_areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return ImageRecord(
        image_id=image_id,
        path=path,
        file_name=f"image{image_id}.jpg",
        size_hw=SIZE_HW,
        boxes=boxes,
        labels=np.array([label for _, label in objects], dtype=np.int64),
        ignore=np.array([False] * len(objects) if ignore is None else ignore, dtype=np.bool_),
        area=np.array(box_areas if area is None else area, dtype=np.float32),
    )


def make_split(
    records: Sequence[ImageRecord],
    *,
    class_names: Sequence[str] = ("cat", "dog"),
    category_ids: Sequence[int] | None = None,
    findings: Sequence[Finding] = (),
) -> DetectionData:
    """A split of the given images."""
    return DetectionData(
        root=Path("data"),
        split="test",
        format="coco",
        reason="made for a test",
        class_names=tuple(class_names),
        category_ids=tuple(category_ids or range(1, len(class_names) + 1)),
        images=tuple(records),
        findings=tuple(findings),
    )


def make_detections(rows: Sequence[tuple[Box, float, int]]) -> Detections:
    """(box, score, label) rows, sorted by score."""
    rows = sorted(rows, key=lambda row: -row[1])
    boxes = torch.tensor([list(box) for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4)
    scores = torch.tensor([score for _, score, _ in rows], dtype=torch.float32)
    labels = torch.tensor([label for _, _, label in rows], dtype=torch.int64)
    return Detections(boxes, scores, labels, SIZE_HW)


def perfect_detections(data: DetectionData) -> dict[int, Detections]:
    """Every object of the split, found exactly."""
    return {
        record.image_id: make_detections(
            [(box, 0.9, label) for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True)]
        )
        for record in data.images
    }


def random_split(
    seed: int, *, num_images: int = 6, num_classes: int = 3, max_objects: int = 9
) -> tuple[DetectionData, Mapping[int, Detections]]:
    """A split with empty images, ignored objects, an absent class, duplicates, equal scores and, mostly, a blacklist.

    All edges are whole numbers, so that overlaps of exactly one half occur. Every fourth seed has one image with
    more than 100 detections of one class.
    """
    rng = np.random.default_rng(seed)
    records, detections = [], {}
    for image_id in rng.permutation(np.arange(3, 3 + num_images)).tolist():
        num_objects = int(rng.integers(0, max_objects + 1))
        boxes, labels = _random_boxes(rng, num_objects), rng.integers(0, num_classes - 1, num_objects)
        ignore = rng.random(num_objects) < 0.2
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * rng.uniform(0.5, 1.0, num_objects)
        objects = list(zip(boxes.tolist(), labels.tolist(), strict=True))
        records.append(make_record(image_id, objects, ignore=ignore.tolist(), area=area.tolist()))
        many = 130 if seed % 4 == 0 and len(records) == 1 else 0
        rows = _random_rows(rng, objects, num_classes=num_classes, num_random=int(rng.integers(0, 5)), num_same=many)
        if rows:
            detections[image_id] = make_detections(rows)
    names = [f"class {label}" for label in range(num_classes)]
    category_ids = rng.permutation([90, 7, 11, 2, 55])[:num_classes].tolist()
    share = 0.3 if seed % 4 != 1 else 0.0
    unjudged = [(record.image_id, int(rng.integers(0, num_classes))) for record in records if rng.random() < share]
    data = make_split(records, class_names=names, category_ids=category_ids)
    return replace(data, unjudged=frozenset(unjudged)), detections


def _random_boxes(rng: np.random.Generator, number: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Boxes with whole edges from 2 to 150 pixels wide; many of them small."""
    corners = np.floor(rng.uniform((0, 0), (140, 50), (number, 2)))
    sides = np.floor(2 + 148 * rng.random((number, 2)) ** 2)
    return np.hstack([corners, corners + sides])


def _random_rows(
    rng: np.random.Generator, objects: Sequence[tuple[Box, int]], *, num_classes: int, num_random: int, num_same: int
) -> list[tuple[Box, float, int]]:
    """Detections near the objects (some twice, some of a wrong class) and elsewhere; scores in steps of 1/8."""
    rows: list[tuple[Box, float, int]] = []
    for box, label in [*objects, *objects]:
        if rng.random() < 0.7:
            shift = np.floor(rng.normal(0, 3, 4)).tolist()
            moved = [edge + step for edge, step in zip(box, shift, strict=True)]
            moved[2], moved[3] = max(moved[2], moved[0] + 1), max(moved[3], moved[1] + 1)
            wrong = rng.random() < 0.1
            rows.append((moved, _score(rng), int(rng.integers(0, num_classes)) if wrong else label))
    for box in _random_boxes(rng, num_random).tolist():
        rows.append((box, _score(rng), int(rng.integers(0, num_classes))))
    for box in _random_boxes(rng, num_same).tolist():
        rows.append((box, _score(rng), 0))
    return rows


def _score(rng: np.random.Generator) -> float:
    """One of 0, 1/8 .. 1: exact in float32, and often equal to another."""
    return int(rng.integers(0, 9)) / 8

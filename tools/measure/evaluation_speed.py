"""Time and memory of a whole report on generated results, and of the COCO numbers alone.

    python -m tools.measure.evaluation_speed                      5,000 images, 100 detections each, 80 classes
    python -m tools.measure.evaluation_speed --images 1000

The labels are of COCO's shape: about seven objects an image, sizes from a few pixels to most of it. Three quarters of
the objects are found, with boxes of all qualities; the other detections are strewn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

from detection.data.records import DetectionData, ImageRecord
from detection.evaluation.coco_map import coco_map
from detection.evaluation.explanation import explain
from detection.evaluation.report import write_report
from detection.evaluation.summary import evaluate_detections
from detection.memory import peak_gib
from detection.structures import Detections
from tools.cli import run_alone

console = Console(soft_wrap=True, markup=False, highlight=False)

SIDES_HW = (480, 640)
OBJECTS_PER_IMAGE = 7


def evaluation_speed(
    images: Annotated[int, typer.Option(min=1, help="Images of the split.")] = 5000,
    detections: Annotated[int, typer.Option(min=1, help="Detections of an image.")] = 100,
    classes: Annotated[int, typer.Option(min=1, help="Classes.")] = 80,
    seed: Annotated[int, typer.Option(help="Of what is generated.")] = 0,
) -> None:
    """Times the COCO numbers and a whole report.

    Example: python -m tools.measure.evaluation_speed --images 1000
    """
    data, found = generate(images, detections, classes, seed)
    console.print(f"{images} images, {sum(map(len, found.values()))} detections, {classes} classes")
    _timed("COCO numbers", lambda: coco_map(data, found))
    with TemporaryDirectory(prefix="multibox-") as folder:
        _timed("whole report", lambda: _report(data, found, Path(folder)))
    console.print(f"memory at most {peak_gib(torch.device('cpu')) or float('nan'):.2f} GiB")


def _timed(name: str, work: Callable[[], object]) -> None:
    started = time.perf_counter()
    work()
    console.print(f"{name}: {time.perf_counter() - started:.1f} s")


def _report(data: DetectionData, found: dict[int, Detections], folder: Path) -> None:
    evaluation = evaluate_detections(data, found)
    explanation = explain(data, found, evaluation, None)
    write_report(folder, data, evaluation, explanation, title="generated", context={})


def generate(images: int, detections: int, classes: int, seed: int) -> tuple[DetectionData, dict[int, Detections]]:
    """Labels and results of a split; the images themselves are not there, so no picture can be drawn."""
    rng = np.random.default_rng(seed)
    records, found = [], {}
    for image_id in range(1, images + 1):
        count = int(rng.poisson(OBJECTS_PER_IMAGE))
        boxes, labels = _boxes(rng, count), rng.integers(0, classes, count)
        name = f"{image_id:06d}.jpg"
        records.append(
            ImageRecord(
                image_id=image_id,
                path=Path("absent") / name,
                file_name=name,
                size_hw=SIDES_HW,
                boxes=boxes,
                labels=labels,
                ignore=rng.random(count) < 0.02,
                area=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * np.float32(0.7),
            )
        )
        found[image_id] = _detections(rng, boxes, labels, detections, classes)
    names = tuple(f"class {number}" for number in range(classes))
    data = DetectionData(
        root=Path("absent"),
        split="generated",
        format="coco",
        images=tuple(records),
        class_names=names,
        category_ids=tuple(range(1, classes + 1)),
        reason="generated",
        findings=(),
    )
    return data, found


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(G, 4) xyxy inside the image, sides spread evenly over the orders of magnitude."""
    size = np.array(SIDES_HW[::-1]) * np.exp(rng.uniform(np.log(0.01), np.log(0.9), (count, 2)))
    start = rng.random((count, 2)) * (np.array(SIDES_HW[::-1]) - size)
    return np.concatenate([start, start + size], axis=1).astype(np.float32)


def _detections(
    rng: np.random.Generator,
    boxes: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    count: int,
    classes: int,
) -> Detections:
    hit = np.flatnonzero(rng.random(len(boxes)) < 0.75)[:count]
    sizes = np.tile(boxes[hit, 2:] - boxes[hit, :2], 2)
    near = boxes[hit] + rng.normal(0, 1, (len(hit), 4)) * rng.uniform(0, 0.2, (len(hit), 1)) * sizes
    strewn = count - len(hit)
    all_boxes = np.concatenate([np.clip(near, 0, np.tile(SIDES_HW[::-1], 2)), _boxes(rng, strewn)])
    scores = np.concatenate([rng.beta(4, 2, len(hit)), rng.beta(1, 4, strewn)])
    chosen = np.concatenate([labels[hit], rng.integers(0, classes, strewn)])
    order = np.argsort(-scores)
    return Detections(
        torch.from_numpy(all_boxes[order].astype(np.float32)),
        torch.from_numpy(scores[order].astype(np.float32)),
        torch.from_numpy(chosen[order].astype(np.int64)),
        SIDES_HW,
    )


if __name__ == "__main__":
    run_alone(evaluation_speed)

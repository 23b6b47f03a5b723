"""Time and memory of an evaluation by the number of detections, from files: labels, results, report.

    python -m tools.measure.evaluation_speed                      5,000 images, 100 detections each, 80 classes
    python -m tools.measure.evaluation_speed --images 14300,47700,143000 --detections 70

The labels are of COCO's shape: about seven objects an image, sizes from a few pixels to most of it. Three quarters of
the objects are found, with boxes of all qualities; the other detections are strewn. The images are links to one file.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image

from detection.data.discover import load_dataset
from detection.data.duplicates import GRID, Float32Array, find_partners
from detection.data.records import DetectionData, ImageRecord
from detection.data.twin_boxes import find_twin_boxes
from detection.evaluation.coco_map import coco_map
from detection.evaluation.explanation import explain
from detection.evaluation.report import write_report
from detection.evaluation.summary import evaluate_detections
from detection.memory import peak_gib
from detection.predictions import ImageDetections, write_coco
from detection.results_file import read_detections
from detection.structures import Detections
from tools.cli import plain_console, run_alone
from tools.measure.growth import Cost, in_new_process, parse_sizes, print_growth, timed

console = plain_console()

SIDES_HW = (480, 640)
OBJECTS_PER_IMAGE = 7
LINKS = 10_000


def evaluation_speed(
    images: Annotated[str, typer.Option(help="Images of the split; several numbers by commas.")] = "5000",
    detections: Annotated[int, typer.Option(min=1, help="Detections of an image.")] = 100,
    classes: Annotated[int, typer.Option(min=1, help="Classes.")] = 80,
    seed: Annotated[int, typer.Option(help="Of what is generated.")] = 0,
) -> None:
    """Times reading labels and results, what `multibox check` compares, the COCO numbers alone and a whole report.

    Example: python -m tools.measure.evaluation_speed --images 1000,5000
    """
    measured = partial(measure, detections=detections, classes=classes, seed=seed)
    costs = [in_new_process(measured, size) for size in parse_sizes(images)]
    print_growth(console, costs, "detections")


def measure(images: int, *, detections: int, classes: int, seed: int) -> Cost:
    """Writes a split and its results, in a process of its own, and evaluates them."""
    seconds: dict[str, float] = {}
    timing = partial(timed, seconds)
    with TemporaryDirectory(prefix="multibox-") as folder:
        root = Path(folder)
        in_new_process(partial(_write, root=root, detections=detections, classes=classes, seed=seed), images)
        with timing("labels"):
            data = load_dataset(root / "data", "val")
        with timing("twin boxes"):
            list(find_twin_boxes([data]))
        with timing("copies"):
            find_partners(_fingerprints(images, seed), np.ones((images, 1), np.bool_), np.zeros((1, 1), np.bool_))
        with timing("results"):
            found = read_detections(root / "found/detections.json", data).detections
        with timing("COCO"):
            coco_map(data, found)
        with timing("report"):
            evaluation = evaluate_detections(data, found)
            explanation = explain(data, found, evaluation, None)
            write_report(root, data, evaluation, explanation, title="generated", context={})
    return Cost(sum(map(len, found.values())), seconds, peak_gib(torch.device("cpu")) or float("nan"))


def _fingerprints(images: int, seed: int) -> Float32Array:
    """Those of pictures that do not resemble each other."""
    rows = np.random.default_rng(seed).standard_normal((images, GRID * GRID), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _write(images: int, *, root: Path, detections: int, classes: int, seed: int) -> None:
    """The files, made in another process than the one that is measured."""
    data, found = generate(images, detections, classes, seed)
    listed = [
        {"id": r.image_id, "file_name": r.file_name, "height": r.size_hw[0], "width": r.size_hw[1]} for r in data.images
    ]
    boxes = [
        {"image_id": record.image_id, "category_id": int(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for record in data.images
        for (x1, y1, x2, y2), label in zip(record.boxes.tolist(), record.labels, strict=True)
    ]
    rows = [row | {"id": number, "iscrowd": 0} for number, row in enumerate(boxes, start=1)]
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(data.class_names)]
    content = {"images": listed, "annotations": rows, "categories": categories}
    (root / "data/annotations").mkdir(parents=True)
    (root / "data/annotations/instances_val.json").write_text(json.dumps(content))
    (root / "data/val").mkdir()
    for number, record in enumerate(data.images):
        path = root / "data/val" / record.file_name
        if number % LINKS == 0:  # a file system allows so many links to one file, and not many more
            original = path
            Image.new("RGB", SIDES_HW[::-1]).save(path)
        else:
            os.link(original, path)
    answers = (ImageDetections(r.image_id, r.file_name, found[r.image_id]) for r in data.images)
    (root / "found").mkdir()
    write_coco(root / "found", answers, class_names=data.class_names, category_ids=data.category_ids)


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
    near = np.sort(near.reshape(-1, 2, 2), axis=1).reshape(-1, 4)  # large noise may turn a box inside out
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

"""Tiles against images one by one: four images put together into one large image, which is detected in tiles.

    python -m tools.measure.tiling runs/first/model.safetensors my-data --tile 640

Tiles as large as one of the images show its objects at the size that they have alone. Of a large image four times as
many detections count, as it holds four times as many objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rich.table import Table

from detection.build import load_detector
from detection.data.image import read_image
from detection.data.records import DetectionData, ImageRecord
from detection.evaluation.coco_map import CocoSettings
from detection.evaluation.coco_matching import MAX_DETECTIONS
from detection.evaluation.summary import EvaluationSettings, evaluate_detections
from detection.evaluation.texts import number_text
from detection.image_detector import ImageDetector
from detection.inference import detect_records
from tools.cli import plain_console, run_alone
from tools.detectors import combine
from tools.reading import evaluation_split, read_data
from tools.stopwatch import timed

console = plain_console()

TOGETHER = 4
GREY = 114


def tiling(
    model: Annotated[Path, typer.Argument(help="A trained model.")],
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    tile: Annotated[int, typer.Option(min=32, help="Side of the tiles.")] = 640,
    split: Annotated[str | None, typer.Option(help="Part to measure on.")] = None,
) -> None:
    """Measures the AP of the images one by one, and of large images made of four, whole and in tiles.

    Example: python -m tools.measure.tiling runs/first/model.safetensors my-data --tile 640
    """
    detector = load_detector(model)
    alone = read_data(console, data, split or evaluation_split(data), class_names=detector.class_names)
    table = Table("", "images", "AP", "AP50", "AP75", "s an image")
    with TemporaryDirectory(prefix="multibox-") as folder:
        large = put_together(alone, Path(folder))
        tiled = combine([detector], tile=tile, tta=False)
        table.add_row("one by one", *_numbers(detector, alone, counted=MAX_DETECTIONS))
        table.add_row("four together", *_numbers(detector, large, counted=TOGETHER * MAX_DETECTIONS))
        table.add_row(f"four together, --tile {tile}", *_numbers(tiled, large, counted=TOGETHER * MAX_DETECTIONS))
    console.print(table)


def _numbers(detector: ImageDetector, data: DetectionData, *, counted: int) -> list[str]:
    found, seconds = timed(detect_records, detector, data.images)
    settings = EvaluationSettings(CocoSettings(max_detections=counted))
    coco = evaluate_detections(data, found.detections, settings=settings).coco
    numbers = (number_text(coco[name]) for name in ("AP", "AP50", "AP75"))
    return [str(len(data.images)), *numbers, f"{seconds / len(data.images):.3f}"]


def put_together(data: DetectionData, folder: Path) -> DetectionData:
    """The same objects in a quarter as many images; the last one may be made of fewer.

    Args:
        data: A split.
        folder: Where the large images are written, without loss.
    """
    groups = [data.images[start : start + TOGETHER] for start in range(0, len(data.images), TOGETHER)]
    images = tuple(_montage(group, number, folder) for number, group in enumerate(groups, start=1))
    return replace(data, root=folder, images=images, unjudged=frozenset())


def _montage(records: Sequence[ImageRecord], number: int, folder: Path) -> ImageRecord:
    """Up to four images in two rows and two columns, on grey; each at its own size."""
    height, width = np.max([record.size_hw for record in records], axis=0).tolist()
    canvas = np.full((2 * height, 2 * width, 3), GREY, np.uint8)
    boxes = []
    for place, record in enumerate(records):
        top, left = place // 2 * height, place % 2 * width
        pixels = read_image(record.path)
        canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        boxes.append(record.boxes + np.array([left, top, left, top], np.float32))
    path = folder / f"{number}.png"
    Image.fromarray(canvas).save(path, compress_level=1)
    return ImageRecord(
        image_id=number,
        path=path,
        file_name=path.name,
        size_hw=(2 * height, 2 * width),
        boxes=np.concatenate(boxes),
        labels=np.concatenate([record.labels for record in records]),
        ignore=np.concatenate([record.ignore for record in records]),
        area=np.concatenate([record.area for record in records]),
    )


if __name__ == "__main__":
    run_alone(tiling)

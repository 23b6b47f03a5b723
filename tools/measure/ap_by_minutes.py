"""AP by minutes of training, ours beside torchvision's Faster R-CNN: a table and a picture.

    python -m tools.measure.ap_by_minutes my-data --out runs/minutes --minutes 1,2,5,15,40

Every point is a training of its own, and kept in OUT/points.json as soon as it is measured: the same command goes on
where it was stopped. OUT/ap_by_minutes.svg shows all points that there are.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from detection.atomic import atomic_path, write_json
from detection.build import load_detector
from detection.data.image import read_image
from detection.data.records import DetectionData
from detection.errors import InputError
from detection.evaluation.summary import evaluate_detections
from detection.inference import detect_records
from detection.structures import Detections
from tools.cli import plain_console, run_alone
from tools.measure.minutes_picture import Point, draw
from tools.measure.torchvision_peer import peer_detections, train_peer
from tools.reading import evaluation_split, read_data, training_split

console = plain_console()

OURS, PEER = "ours", "Faster R-CNN MobileNetV3-320"


def ap_by_minutes(
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    out: Annotated[Path, typer.Option(help="Folder of the points, of our runs and of the picture.")],
    minutes: Annotated[str, typer.Option(help="Times of training, by commas.")] = "1,2,5,15,40",
    split: Annotated[str | None, typer.Option(help="Part to measure on.")] = None,
    seed: Annotated[int, typer.Option(help="Of both trainings.")] = 0,
) -> None:
    """Trains both for each of the times, and measures AP and AP50.

    Example: python -m tools.measure.ap_by_minutes my-data --out runs/minutes --minutes 1,5,15
    """
    times = parse_minutes(minutes)
    training = read_data(console, data, training_split(data, None))
    test = read_data(console, data, split or evaluation_split(data), class_names=training.class_names)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "points.json"
    points = [Point(*row) for row in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []
    for side, time in _missing(points, times):
        console.print(f"{side}, {time:g} minutes")
        if side == OURS:
            found = _train_ours(training, test, time, seed=seed, out=out)
        else:
            found = _train_peer(training, test, time, seed=seed)
        coco = evaluate_detections(test, found).coco
        points.append(Point(side, time, coco["AP"] or 0.0, coco["AP50"] or 0.0))
        write_json(file, points)
    console.print(_table(points))
    with atomic_path(out / "ap_by_minutes.svg") as draft:
        draft.write_text(draw(points, data.resolve().name), encoding="utf-8")


def parse_minutes(text: str) -> list[float]:
    """Times by commas, shortest first.

    Raises:
        InputError: If one is no positive number.
    """
    try:
        times = sorted({float(part) for part in text.split(",")})
    except ValueError:
        times = []
    if not times or not all(math.isfinite(time) and time > 0 for time in times):
        raise InputError(f"--minutes {text}: expected positive numbers by commas, such as 1,5,15")
    return times


def _missing(points: Sequence[Point], times: Sequence[float]) -> Iterator[tuple[str, float]]:
    measured = {(point.side, point.minutes) for point in points}
    return ((side, time) for time in times for side in (OURS, PEER) if (side, time) not in measured)


def _train_ours(
    training: DetectionData, test: DetectionData, minutes: float, *, seed: int, out: Path
) -> dict[int, Detections]:
    """By the command, in a process of its own as a user starts it; one that was stopped is resumed."""
    run = out / f"ours-{minutes:g}"
    options = ["--split", training.split, "--out", str(run), "--minutes", f"{minutes:g}", "--set", f"train.seed={seed}"]
    resumed = ["--resume"] if run.exists() else []
    subprocess.run([sys.executable, "-m", "tools.train", str(training.root), *options, *resumed], check=True)
    return detect_records(load_detector(run / "model.safetensors"), test.images).detections


def _train_peer(training: DetectionData, test: DetectionData, minutes: float, *, seed: int) -> dict[int, Detections]:
    peer, _ = train_peer(training, minutes, seed)
    return {record.image_id: peer_detections(peer, read_image(record.path)) for record in test.images}


def _table(points: Sequence[Point]) -> Table:
    """A row for each time, AP / AP50 of both."""
    shown = {(point.side, point.minutes): f"{point.ap:.3f} / {point.ap50:.3f}" for point in points}
    table = Table("minutes", OURS, PEER)
    for time in sorted({point.minutes for point in points}):
        table.add_row(f"{time:g}", *(shown.get((side, time), "") for side in (OURS, PEER)))
    return table


if __name__ == "__main__":
    run_alone(ap_by_minutes)

"""A trained model beside torchvision's Faster R-CNN (MobileNetV3, 320 pixels), equal minutes: AP, proposals, time.

    python -m tools.measure.beside_torchvision runs/first/model.safetensors my-data --minutes 15

Its region proposal network is judged as it is used, with its own NMS; it hands on at most 150 boxes an image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.table import Table

from detection.build import load_detector
from detection.data.image import read_image
from detection.data.records import DetectionData
from detection.evaluation.proposal_summary import cover_image, summarize_covers
from detection.evaluation.summary import evaluate_detections
from detection.evaluation.texts import number_text
from detection.preprocess import Image
from detection.proposing import FirstStage
from detection.structures import Detections
from proposals.structures import Proposals
from tools.cli import plain_console, run_alone
from tools.measure.torchvision_peer import BATCH_SIZE, peer_detections, peer_proposals, train_peer
from tools.reading import evaluation_split, read_data, training_split
from tools.stopwatch import timed

console = plain_console()

COUNTS = (50, 100, 200)


def beside_torchvision(
    model: Annotated[Path, typer.Argument(help="A trained model of ours.")],
    data: Annotated[Path, typer.Argument(help="The data set that it learnt from.")],
    minutes: Annotated[float, typer.Option(help="Training time of the peer.")] = 15.0,
    split: Annotated[str | None, typer.Option(help="Part to measure on.")] = None,
    seed: Annotated[int, typer.Option(help="Of the peer's training.")] = 0,
) -> None:
    """Trains the peer and measures both: AP, recall and AR of the first proposals, milliseconds from pixels to boxes.

    Example: python -m tools.measure.beside_torchvision runs/first/model.safetensors my-data --minutes 15
    """
    detector = load_detector(model)
    training = read_data(console, data, training_split(data, None), class_names=detector.class_names)
    test = read_data(console, data, split or evaluation_split(data), class_names=detector.class_names)
    peer, steps = train_peer(training, minutes, seed)
    console.print(f"peer: {steps} steps, {steps * BATCH_SIZE / len(training.images):.1f} epochs")
    first_stage = FirstStage(detector, max_proposals=max(COUNTS))
    ours = _numbers(test, lambda image: detector.detect_images([image])[0], first_stage.propose)
    theirs = _numbers(test, partial(peer_detections, peer), partial(peer_proposals, peer))
    table = Table("", "ours", "the peer")
    for name, number in ours.items():
        table.add_row(name, number, theirs[name])
    console.print(table)


def _numbers(
    data: DetectionData, detect: Callable[[Image], Detections], propose: Callable[[Image], Proposals]
) -> dict[str, str]:
    """One side's column of the table."""
    found, covers, milliseconds = {}, [], []
    detect(read_image(data.images[0].path))  # the first call is slower than all others
    for record in data.images:
        image = read_image(record.path)
        found[record.image_id], seconds = timed(detect, image)
        milliseconds.append(1000 * seconds)
        proposed, seconds = timed(propose, image)
        covers.append(cover_image(record, proposed, seconds=seconds))
    coco = evaluate_detections(data, found).coco
    by_count = summarize_covers(covers, data.class_names).by_count
    return {
        **{name: number_text(coco[name]) for name in ("AP", "AP50")},
        **{f"recall@{count}": number_text(by_count[count].recall_of(0.5)) for count in COUNTS},
        **{f"AR@{count}": number_text(by_count[count].average_recall["all"]) for count in COUNTS},
        "ms an image": f"{median(milliseconds):.1f}",
    }


if __name__ == "__main__":
    run_alone(beside_torchvision)

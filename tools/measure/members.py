"""The ensemble against each of its members on the same features: what they gain together, and what they cost.

    python -m tools.measure.members runs/first/model.safetensors my-data

One model is measured, so that nothing differs but who is asked. A single member is one of the first look: it sees its
own context, nothing is pooled for the others, and there is no second look. Times are paired: every image is detected
by one member, then by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import typer
from rich.table import Table
from torch import nn

from detection.build import load_detector
from detection.data.image import read_image
from detection.data.records import DetectionData, ImageRecord
from detection.detector import Detector
from detection.errors import InputError
from detection.evaluation.summary import evaluate_detections
from detection.evaluation.texts import number_text
from detection.inference import detect_records
from detection.network import DetectionNetwork
from tools.cli import plain_console, run_alone
from tools.reading import evaluation_split, read_data
from tools.stopwatch import timed

console = plain_console()

MEASURES = ("AP", "AP50", "AP75")


def members(
    model: Annotated[Path, typer.Argument(help="A trained model of the shared form.")],
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    split: Annotated[str | None, typer.Option(help="Part to measure on.")] = None,
) -> None:
    """Measures AP of each member alone and of all, and the time of detection with one and with all.

    Example: python -m tools.measure.members runs/first/model.safetensors my-data
    """
    together = load_detector(model)
    test = read_data(console, data, split or evaluation_split(data), class_names=together.class_names)
    count = _network(together, model).classifier.heads.members
    alone = [ask_one(model, member) for member in range(count)]
    table = Table("", "context", *MEASURES)
    rows = [_numbers(detector, test) for detector in alone]
    for member, (detector, row) in enumerate(zip(alone, rows, strict=True), start=1):
        table.add_row(
            f"member {member}", f"{_network(detector, model).classifier.contexts[0]:g}", *map(number_text, row)
        )
    table.add_row("mean of one", "", *(number_text(mean(column)) for column in zip(*rows, strict=True)))
    if _network(together, model).second_look is not None:
        table.add_row(f"first look, {count}", "", *map(number_text, _numbers(look_once(model), test)))
        count *= 2
    table.add_row(f"all {count}", "", *map(number_text, _numbers(together, test)))
    console.print(table)
    one, every = paired_milliseconds(alone[0], together, test.images)
    ratio = median(b / a for a, b in zip(one, every, strict=True))
    console.print(f"ms an image: one {median(one):.1f}, all {median(every):.1f}; {ratio:.3f} times, median of pairs")


def ask_one(model: Path, member: int) -> Detector:
    """The detector of a model with a single one of its members, which looks once.

    Args:
        model: Of the shared form.
        member: Its index in the first look.

    Raises:
        InputError: If the model is of the crop form.
    """
    detector = load_detector(model, prepare=False)
    network = _network(detector, model)
    network.second_look, classifier = None, network.classifier
    classifier.contexts = (classifier.contexts[member % len(classifier.contexts)],)
    for name, parameter in list(classifier.heads.named_parameters()):
        setattr(classifier.heads, name, nn.Parameter(parameter.detach()[member : member + 1].clone()))
    detector.prepare()
    return detector


def look_once(model: Path) -> Detector:
    """The detector of a model without its second look; arguments and errors are those of ``ask_one``."""
    detector = load_detector(model, prepare=False)
    _network(detector, model).second_look = None
    detector.prepare()
    return detector


def _network(detector: Detector, model: Path) -> DetectionNetwork:
    if not isinstance(detector.network, DetectionNetwork):
        raise InputError(f"{model}: a model of the crop form, whose members share nothing; give one of the shared form")
    return detector.network


def _numbers(detector: Detector, data: DetectionData) -> list[float]:
    coco = evaluate_detections(data, detect_records(detector, data.images).detections).coco
    return [coco[name] or 0.0 for name in MEASURES]


def paired_milliseconds(
    one: Detector, every: Detector, records: Sequence[ImageRecord]
) -> tuple[list[float], list[float]]:
    """From pixels to boxes, image by image, one detector after the other."""
    images = [read_image(record.path) for record in records]
    for detector in (one, every):  # the first calls are slower than all others
        detector.detect_image(images[0])
    pairs = [[1000 * timed(detector.detect_image, image)[1] for detector in (one, every)] for image in images]
    return [a for a, _ in pairs], [b for _, b in pairs]


if __name__ == "__main__":
    run_alone(members)

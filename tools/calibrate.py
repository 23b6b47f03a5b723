"""``multibox calibrate``: scores that mean what they say and a threshold for each class, stored in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table
from torch import Tensor

from detection.atomic import make_folder
from detection.build import load_detector
from detection.calibration_fit import NUM_FOLDS, CalibrationFit, FittedClass, fit_calibration
from detection.checkpoint import load_model, model_file, save_model
from detection.data.classes import UnknownClasses
from detection.data.records import DetectionData
from detection.detector import Detector
from detection.errors import InputError
from detection.evaluation.reliability import JudgedClass, judge_split
from detection.evaluation.texts import number_text
from detection.inference import detect_records
from tools.cli import plain_console, run_alone
from tools.progress import counting
from tools.reading import learnt_images, read_data

SUFFIX = ".safetensors"
console = plain_console()


def calibrate(
    model: Annotated[Path, typer.Argument(help="model.safetensors of a run.")],
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    split: Annotated[str, typer.Option(help="Part to fit on: not the one learnt from, nor the one to judge on.")],
    out: Annotated[
        Path | None, typer.Option(help="Model file to write. [default: model.calibrated.safetensors beside MODEL]")
    ] = None,
    precision: Annotated[
        float, typer.Option(min=0, max=1, help="Share that shall be right above the threshold `precise`.")
    ] = 0.9,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out objects of classes that the model does not know.")
    ] = False,
) -> None:
    """Fits a model's scores and thresholds to labelled images, and writes the model anew with them.

    The weights stay the same, and so does the AP of each class. MODEL is only replaced if --out names it.

    Example: multibox calibrate runs/first/model.safetensors my-data --split val
    """
    source = model_file(model)
    target = _target(source, out)
    detector = load_detector(source, device=device)
    detector.calibration = None  # An earlier calibration is replaced: the fit starts from the network's own scores.
    unknown: UnknownClasses = "drop" if drop_unknown else "error"
    labelled = read_data(console, data, split, class_names=detector.class_names, unknown_classes=unknown)
    tensors, header = load_model(source)
    if reason := learnt_images(header, labelled):
        console.print(
            f"warning: {reason}; the scores of learnt images are too good, so what is fitted to them promises too much "
            "on new ones; give a part that it has not seen"
        )
    _refuse_other_model(target, tensors)
    make_folder(target.parent)
    classes, num_images = _judge(detector, labelled)
    about = {"data": data.resolve().name, "split": labelled.split}
    fit = fit_calibration(classes, num_images, precision=precision, fitted_on=about)
    save_model(target, tensors, replace(header, calibration=fit.calibration.to_header(header.class_names)))
    _show(fit, precision)
    console.print(f"written: {target}; use it with multibox detect {target} SOURCE --out DIR --formats csv")
    console.print(f"judge it on other images than those of {split!r}, which its thresholds were chosen on")


def _target(source: Path, out: Path | None) -> Path:
    """The file to write.

    Raises:
        InputError: If its name is not that of a model file.
    """
    if out is None:
        return source.with_name(f"{source.stem}.calibrated{SUFFIX}")
    target = model_file(out)
    if target.suffix != SUFFIX:
        raise InputError(f"--out {out}: expected a folder or a file called *{SUFFIX}; add the suffix")
    return target


def _refuse_other_model(target: Path, tensors: Mapping[str, Tensor]) -> None:
    """Makes sure that no model is lost.

    Raises:
        InputError: If the file to write holds other weights than the model.
    """
    if not target.exists():
        return
    there = load_model(target)[0]
    if set(there) != set(tensors) or not all(torch.equal(there[name], tensors[name]) for name in there):
        raise InputError(f"{target}: holds another model; give another --out")


def _judge(detector: Detector, data: DetectionData) -> tuple[dict[str, JudgedClass], int]:
    """Detects on the part; returns the judged detections of each class and the number of images that could be read.

    Raises:
        InputError: If there is nothing to fit to.
    """
    with counting(console, len(data.images), "detecting") as advance:
        answers = detect_records(detector, data.images, heard=advance)
    for failure in answers.failures.values():
        console.print(f"not read: {failure}")
    images = tuple(record for record in data.images if record.image_id in answers.detections)
    classes = judge_split(replace(data, images=images), answers.detections)
    if not any(each.matches.num_gt for each in classes.values()):
        raise InputError(
            f"{data.root}: split {data.split!r} has no object to be found, so no detection could be right; "
            "give a labelled part"
        )
    if not any(len(each.scores) for each in classes.values()):
        raise InputError(
            f"{data.root}: the model detects nothing on the {len(images)} images of split {data.split!r}, so there are "
            "no scores to calibrate; train it longer, or lower postprocess.score_threshold"
        )
    return classes, len(images)


def _show(fit: CalibrationFit, precision: float) -> None:
    table = Table("class")
    titles = ("detections", "right", "ECE", "after", "unseen", "best from", "F1", "unseen", "precise from", "unseen")
    for title in titles:
        table.add_column(title, justify="right")
    thresholds = zip(*(fit.calibration.thresholds[kind] for kind in ("best", "precise")), strict=True)
    for (name, row), (best, precise) in zip(fit.per_class.items(), thresholds, strict=True):
        table.add_row(name if row.has_own_map else f"{name} *", *_cells(row, number_text(best), number_text(precise)))
    table.add_row("all", *_cells(fit.overall, "", ""))
    console.print(table)
    console.print(
        "ECE: mean distance of score and share right: before, after on the same images (flatters), on images unseen "
        f"by the fit ({NUM_FOLDS} parts); F1: best, and with thresholds chosen on other images; of all: the mean"
    )
    console.print(
        f"best: greatest F1; precise: the lowest score from which {precision:.0%} are right here, and the share of "
        "right ones with such scores of other images"
    )
    if not all(row.has_own_map for row in fit.per_class.values()):
        console.print("* few right or few wrong detections: the scores take the map of all classes together")


def _cells(row: FittedClass, best: str, precise: str) -> list[str]:
    errors = map(number_text, (row.ece_before, row.ece_after, row.ece_unseen))
    counts = str(row.num_detections), str(row.num_right)
    return [
        *counts,
        *errors,
        best,
        number_text(row.f1),
        number_text(row.f1_unseen),
        precise,
        number_text(row.precision_unseen),
    ]


if __name__ == "__main__":
    run_alone(calibrate)

"""``multibox train``: a data set in, a run folder with a model out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from configs.faults import nearest
from configs.load import DEFAULT, config_origins, load_config
from configs.schema import Config
from detection.build_training import ENOUGH_STEPS
from detection.data.classes import UnknownClasses
from detection.data.loader import steps_of_many, steps_per_epoch
from detection.data.raw import first_names
from detection.data.records import DetectionData
from detection.errors import InputError
from detection.evaluation.summary import overfull_warnings
from detection.evaluation.validation_numbers import validation_numbers
from detection.processes import launched_place
from tools.cli import plain_console, run_alone
from tools.crop_training import train_crop
from tools.flips import settle_flip
from tools.reading import read_data, tell_settings, tell_unused, training_split
from tools.run_folder import is_first
from tools.training_run import RunData, train_shared

console = plain_console()


def train(
    data: Annotated[
        Path, typer.Argument(help="Folder of the data set: VOC, COCO, YOLO or ILSVRC; found out by looking.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; made if it is not there.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Part to train on, or a share: 80%. "
            "[default: trainval, else train; with --val train; a single part whatever its name]"
        ),
    ] = None,
    val: Annotated[str | None, typer.Option(help="Part that decides which weights are best.")] = None,
    config: Annotated[
        str, typer.Option(help="Preset (default, fast, accurate, voc, coco, ilsvrc2014) or a YAML file.")
    ] = "default",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Train for this long; the schedule fits.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train for so many passes over the images.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value: train.seed=1")] = None,
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out objects of --val whose class the training part lacks.")
    ] = False,
    note: Annotated[str, typer.Option(help="Terms of the images, for the model's header.")] = "",
) -> None:
    """Trains a detector on your images.

    Without --val every image of the split is learnt from and the final weights are kept; with it, the best ones.

    Exit code: 0 done, 2 wrong input, 75 stopped by Ctrl-C or SIGTERM and saved.

    Example: multibox train my-data --out runs/first --minutes 15

    Example: torchrun --nproc-per-node 2 -m tools.train my-data --out runs/first --epochs 40
    """
    console.quiet = not is_first()
    if minutes is not None and epochs is not None:
        raise InputError("--minutes and --epochs exclude each other; give one of them")
    if epochs is not None and any(each.startswith("train.epochs=") for each in set_ or []):
        raise InputError("--epochs and --set train.epochs say the same; give one of them")
    if drop_unknown and val is None:
        console.print("note: --drop-unknown has no effect here: it is about the classes of another part, --val")
    overrides = list(set_ or []) + ([f"train.epochs={epochs}"] if epochs else [])
    settings = load_config(config, overrides, schema=Config)
    origins = config_origins(config, overrides, schema=Config)
    tell_settings(console, settings, origins)
    tell_unused(console, settings, origins)
    tell_idle(origins, minutes=minutes, val=val)
    training_data = read_data(console, data, split or training_split(data, val))
    if not any((~record.ignore).any() for record in training_data.images):
        raise InputError(
            f"{data}: split {training_data.split!r} has {len(training_data.images)} images and not one object to "
            f"learn; `multibox check {data}` says what was found"
        )
    validation_data = read_validation(data, val, training_data, drop_unknown) if val else None
    if validation_data is not None:
        refuse_metric(settings.train.best_metric, validation_data)
    tell_many_epochs(settings, origins, minutes, num_images=len(training_data.images))
    if not resume:
        tell_overfull(settings, training_data)
    settings = settle_flip(settings, training_data, out, console, resume=resume)
    start = train_crop if settings.classifier.form == "crop" else train_shared
    run_data = RunData(training_data, validation_data, note)
    start(out, settings, run_data, minutes=minutes, resume=resume, console=console)


def tell_idle(origins: Mapping[str, str], *, minutes: float | None, val: str | None) -> None:
    """Says which values of the user's have no effect beside these options."""
    idle = {"train.epochs": "without --minutes"} if minutes is not None else {}
    if val is None:
        idle |= dict.fromkeys(("train.patience", "train.best_metric", "train.evaluate_every"), "with --val")
    for name, purpose in idle.items():
        if origins[name] != DEFAULT and not origins[name].startswith("preset "):
            console.print(f"note: {name} has no effect here: it is for runs {purpose}")


def tell_overfull(config: Config, data: DetectionData) -> None:
    """Says so if images hold more objects than the detector can find in one: that is settled with the training."""
    limit = config.postprocess.max_detections
    if config.proposals.method in ("multibox", "multibox-fc"):
        limit = min(limit, config.proposals.num_detect)  # a region gives one detection of a class, seldom more than one
    for warning in overfull_warnings(data, limit):
        console.print(f"note: {warning}")


def tell_many_epochs(config: Config, origins: Mapping[str, str], minutes: float | None, *, num_images: int) -> None:
    """Says so if this training may be too short for all the mosaics and crops that the user asked for."""
    views = config.augment
    an_epoch = steps_per_epoch(num_images, config.train.batch_size * launched_place().processes)
    needed = steps_of_many(views.many_epochs, an_epoch, enough_steps=ENOUGH_STEPS)
    chances = {"augment.mosaic": views.mosaic, "augment.iou_crop": views.iou_crop}
    asked = [name for name, chance in chances.items() if chance > 0 and origins.get(name, DEFAULT) != DEFAULT]
    if asked and needed > (0 if minutes is not None else config.train.epochs * an_epoch):
        console.print(
            f"note: {' and '.join(asked)} in full only for trainings of {views.many_epochs} passes over the images "
            f"(and {ENOUGH_STEPS:,} steps) and more, up to three eighths of that none; --set augment.many_epochs=0 for "
            "any"
        )


def read_validation(data: Path, val: str, training_data: DetectionData, drop_unknown: bool) -> DetectionData:
    """Reads the validation part.

    Raises:
        InputError: If it shares images with the training part: the best would be judged on what was learnt.
    """
    unknown: UnknownClasses = "drop" if drop_unknown else "error"
    part = read_data(console, data, val, class_names=training_data.class_names, unknown_classes=unknown)
    shared = {record.path for record in training_data.images} & {record.path for record in part.images}
    if shared:
        raise InputError(
            f"--val {val}: {len(shared)} of its images are also learnt from in {training_data.split!r}; "
            f"name parts without common images with --split and --val"
        )
    return part


def refuse_metric(metric: str, data: DetectionData) -> None:
    """Makes sure that ``train.best_metric`` can decide what is best on a validation part.

    Raises:
        InputError: If it is about a class that does not exist, or about objects that the part does not have.
    """
    numbers = validation_numbers(data, {})
    number, _, class_name = metric.partition(":")
    if metric not in numbers:
        near = nearest(class_name, data.class_names)
        hint = f"did you mean {number}:{near}?" if near else f"the classes are {first_names(data.class_names, 10)}"
        raise InputError(f"train.best_metric: {metric} is about a class that the data do not have; {hint}")
    if numbers[metric] is None:
        others = any(value is not None for value in numbers.values())
        raise InputError(
            f"train.best_metric: {data.split!r} has no object that {metric} is about, so it would decide nothing; name "
            f"another part with --val{' or another number with --set train.best_metric=...' if others else ''}"
        )


if __name__ == "__main__":
    run_alone(train)

"""``multibox pretrain``: labelled images in, a classifier out whose trunk starts detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from configs.load import config_origins, load_config
from configs.pretraining import PretrainConfig
from detection.classification import build
from detection.classification.classifier import DEFAULT_NOTE
from detection.device import choose_compute
from detection.errors import InputError
from tools.cli import plain_console, run_alone
from tools.pretraining_run import PretrainingRun
from tools.reading import pack_images, tell_settings, tell_unused
from tools.run_folder import check_run_folder, refuse_several

console = plain_console()


def pretrain(
    data: Annotated[
        Path,
        typer.Argument(help="Zip or folder of class folders, or of train/ and val/ with class folders; Tiny ImageNet."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; made if it is not there.")],
    config: Annotated[str, typer.Option(help="Recipe (modern, paper) or a YAML file.")] = "modern",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Train for this long; the schedule fits.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train for so many passes over the images.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value: network.block=naive")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for the decoded images, shared by runs. [default: OUT/images]")
    ] = None,
    note: Annotated[str, typer.Option(help="Terms of the training images, for the model's header.")] = DEFAULT_NOTE,
) -> None:
    """Trains a classifier on labelled images; its trunk is the start of a detector.

    Images are decoded once. The validation part judges the averaged weights; the last ones are kept. A detector takes
    them with --set backbone.weights=OUT/model.safetensors.

    Exit code: 0 done, 2 wrong input, 75 stopped by Ctrl-C or SIGTERM and saved.

    Example: multibox pretrain tiny-imagenet-200.zip --out runs/pre --epochs 20
    """
    if minutes is not None and epochs is not None:
        raise InputError("--minutes and --epochs exclude each other; give one of them")
    overrides = list(set_ or []) + ([f"train.epochs={epochs}"] if epochs else [])
    settings = load_config(config, overrides, schema=PretrainConfig)
    origins = config_origins(config, overrides, schema=PretrainConfig)
    tell_settings(console, settings, origins)
    tell_unused(console, settings, origins)
    refuse_several("multibox pretrain")
    check_run_folder(out, settings, resume=resume)
    choose_compute(settings.train.device, settings.train.precision)  # a wrong name is told before the decoding
    folder, shorter_side = cache or out / "images", build.stored_side(settings)
    train = pack_images(console, data, "train", folder, shorter_side=shorter_side)
    val = pack_images(console, data, "val", folder, shorter_side=shorter_side)
    console.print(f"{data}: {len(train)} images to learn from, {len(val)} to judge, {len(train.class_names)} classes")
    PretrainingRun(out, settings, train, val, note=note, console=console).fit(minutes, resume=resume)


if __name__ == "__main__":
    run_alone(pretrain)

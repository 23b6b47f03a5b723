"""``multibox train``: a data set in, a run folder with a model out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from configs.load import load_config
from detection.data.discover import list_splits
from detection.errors import InputError
from tools.cli import run_alone
from tools.reading import read_data
from tools.training_run import TrainingRun

console = Console(soft_wrap=True)


def train(
    data: Annotated[Path, typer.Argument(help="Folder of the data set: VOC, COCO or YOLO; found out by looking.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; made if it is not there.")],
    split: Annotated[str | None, typer.Option(help="Part to train on. [default: trainval, else train]")] = None,
    val: Annotated[str | None, typer.Option(help="Part that decides which weights are best.")] = None,
    config: Annotated[str, typer.Option(help="Preset (default, fast, accurate) or a YAML file.")] = "default",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Train for this long; the schedule fits.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train for so many passes over the images.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value: train.seed=1")] = None,
) -> None:
    """Trains a detector on your images.

    Without --val every image of the split is learnt from and the final weights are kept; with it, the best ones.

    Example: multibox train my-data --out runs/first --minutes 15
    """
    if minutes is not None and epochs is not None:
        raise InputError("--minutes and --epochs exclude each other; give one of them")
    overrides = list(set_ or []) + ([f"train.epochs={epochs}"] if epochs else [])
    settings = load_config(config, overrides)
    training_data = read_data(console, data, split or default_split(data))
    validation_data = read_data(console, data, val, class_names=training_data.class_names) if val else None
    TrainingRun(out, settings, training_data, validation_data, console=console).fit(minutes, resume=resume)


def default_split(data: Path) -> str:
    """``trainval`` if the data set has it, else the first part whose name starts with ``train``, else ``all``."""
    splits = list_splits(data)
    named = [name for name in splits if name.startswith("train")]
    return "trainval" if "trainval" in splits else (named or ["all"])[0]


if __name__ == "__main__":
    run_alone(train)

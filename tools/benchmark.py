"""``multibox benchmark``: the time of a detector's stages, and of training beside the bare network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table

from backbone.googlenet import GoogLeNet
from backbone.normalization import ColourNormalization
from configs.load import load_config
from configs.pretraining import PretrainConfig
from detection.build import load_detector
from detection.classification import build
from detection.data.image import read_image
from detection.data.source import list_source
from detection.engine import StateFile, Trainer
from detection.errors import InputError
from detection.schedule import StepBudget
from detection.timing import time_stages
from tools.cli import run_alone
from tools.reading import pack_images
from tools.run_folder import start_accelerator

console = Console(soft_wrap=True, markup=False, highlight=False)

NETWORK = "googlenet"
ROUNDS = 5


def benchmark(
    model: Annotated[
        str, typer.Argument(help="A model or a run's folder; or googlenet: the training of a classifier.")
    ],
    source: Annotated[
        Path | None,
        typer.Argument(help="Image or folder for a model [default: noise of 640 x 480]; for googlenet, its data set."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Of a model: most images to time.")] = 50,
    config: Annotated[str, typer.Option(help="Of googlenet: recipe (modern, paper) or a YAML file.")] = "modern",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Of googlenet: override a value: train.batch_size=64")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of googlenet: steps of each measurement.")] = 4,
    device: Annotated[str, typer.Option(help="Of a model: auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Tells how long each stage of a detector takes; or how near training comes to the bare network.

    Example: multibox benchmark runs/first photos

    Of googlenet, whole training (views, optimizer, average) and the bare forward and backward pass are measured in
    turn, several times, and the median of the rounds is told: a machine's speed drifts.

    Example: multibox benchmark googlenet tiny-imagenet-200.zip --set input.sides=[[0,64]]
    """
    if model != NETWORK:
        _benchmark_detector(Path(model), source, images, device)
    elif source is None:
        raise InputError("googlenet: name the data set to train on: multibox benchmark googlenet DATA")
    else:
        _benchmark_training(load_config(config, list(set_ or []), schema=PretrainConfig), source, steps)


def _benchmark_detector(path: Path, source: Path | None, most: int, device: str) -> None:
    detector = load_detector(path, device=device)
    chosen = _noise(most) if source is None else (read_image(p) for _, p in islice(list_source(source), most))
    seconds = time_stages(detector, chosen)
    medians = {stage: 1000 * median(values) for stage, values in seconds.items()}
    table = Table("stage", "median, ms", "share", "of the backbone")
    for stage, value in medians.items():
        table.add_row(
            stage, f"{value:.2f}", f"{value / sum(medians.values()):.0%}", f"{value / medians['backbone']:.0%}"
        )
    precision = str(detector.precision).removeprefix("torch.")
    console.print(f"{detector.device}, {precision}, longer side {detector.longest_side} pixels, one image at a time")
    console.print(table)
    console.print(f"in all {sum(medians.values()):.1f} ms an image, without reading; {len(seconds['scale'])} images")


def _noise(count: int) -> Iterator[npt.NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield generator.integers(0, 256, (480, 640, 3), dtype=np.uint8)


def _benchmark_training(config: PretrainConfig, data: Path, steps: int) -> None:
    accelerator, compute = start_accelerator(config.train.device, config.train.precision)
    with TemporaryDirectory(prefix="multibox-", ignore_cleanup_errors=True) as folder:
        packed = pack_images(console, data, "val", Path(folder), shorter_side=build.stored_side(config))
        network = build.build_network(config, len(packed.class_names)).to(accelerator.device)
        trainer = Trainer(
            build.build_task(config, network, packed, compute.precision),
            settings=build.training_settings(config),
            budget=StepBudget(2**31),
            accelerator=accelerator,
            state=StateFile(Path(folder) / "state.safetensors", {}),
        )
        rates = _measure(trainer, steps)
    batch_size, side = config.train.batch_size, config.input.sides[0][1]
    bare, whole = (median(values) for values in rates)
    console.print(f"{accelerator.device}, {config.train.optimizer}, batches of {batch_size} at {side} pixels")
    console.print(f"bare forward and backward: {bare:.1f} images/s (rounds: {_listed(rates[0])})")
    console.print(f"whole training:            {whole:.1f} images/s (rounds: {_listed(rates[1])})")
    console.print(f"share: {whole / bare:.1%}")


def _measure(trainer: Trainer[GoogLeNet], steps: int) -> tuple[list[float], list[float]]:
    """Images per second of the bare loop and of the trainer, by round; a first round of each is thrown away."""
    batches = iter(trainer.source.batches(0, _at_start))  # one for all rounds: its workers start once
    images, labels = next(batches).inputs(trainer.accelerator.device)
    normalized = ColourNormalization().to(images.device)(images, torch.float32)

    def bare() -> None:
        for _ in range(steps):
            with trainer.accelerator.autocast():
                logits = trainer.network(normalized).logits
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()
            trainer.network.zero_grad()

    def whole() -> None:
        for batch in islice(batches, steps):
            trainer.train_step(batch, 0.5)

    rates: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS + 1):
        for values, work in zip(rates, (bare, whole), strict=True):
            values.append(steps * len(labels) / _seconds(work))
    return rates[0][1:], rates[1][1:]


def _at_start(step: int) -> float:
    """Progress, for the resolution that training begins with."""
    return 0.0


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
    return time.perf_counter() - started


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.0f}" for value in values)


if __name__ == "__main__":
    run_alone(benchmark)

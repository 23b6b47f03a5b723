"""``multibox benchmark``: how fast training is on this machine, beside the bare network."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from rich.console import Console

from backbone.googlenet import GoogLeNet
from backbone.normalization import ColourNormalization
from configs.load import load_config
from configs.pretraining import PretrainConfig
from detection.classification import build
from detection.engine import StateFile, Trainer
from detection.errors import InputError
from detection.schedule import StepBudget
from tools.cli import run_alone
from tools.reading import pack_images
from tools.run_folder import start_accelerator

console = Console(soft_wrap=True, markup=False, highlight=False)

ROUNDS = 5


def benchmark(
    model: Annotated[str, typer.Argument(help="googlenet: the training of a classifier.")],
    data: Annotated[Path, typer.Argument(help="Its images, as for `multibox pretrain`.")],
    recipe: Annotated[str, typer.Option(help="Recipe (modern, paper) or a YAML file.")] = "modern",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value: train.batch_size=64")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each measurement.")] = 4,
) -> None:
    """Compares whole training (views, optimizer, average) with the bare forward and backward pass.

    Both are measured in turn, several times, and the median of the rounds is told: a machine's speed drifts.

    Example: multibox benchmark googlenet tiny-imagenet-200.zip --set input.sides=[[0,64]]
    """
    if model != "googlenet":
        raise InputError(f"{model}: nothing to benchmark under this name; give googlenet")
    config = load_config(recipe, list(set_ or []), schema=PretrainConfig)
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

"""Training beside its bare forward and backward pass, and where the time of a step goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from detection.engine import Trainer
from detection.training_task import TrainingBatch

ROUNDS = 5


class TrainingSpeed(NamedTuple):
    """What was measured.

    Attributes:
        bare: Images per second of the bare loop, by round.
        whole: Those of the training.
        stages: Milliseconds of a step by part, median of the steps of one more round.
    """

    bare: list[float]
    whole: list[float]
    stages: dict[str, float]

    def show(self, console: Console) -> None:
        """Tells both rates and the parts of a step."""
        bare, whole = median(self.bare), median(self.whole)
        console.print(f"bare forward and backward: {bare:.1f} images/s (rounds: {_listed(self.bare)})")
        console.print(f"whole training:            {whole:.1f} images/s (rounds: {_listed(self.whole)})")
        console.print(f"share: {whole / bare:.1%}")
        table = Table("part of a step", "ms", "share")
        total = sum(self.stages.values())
        for name, value in self.stages.items():
            table.add_row(name, f"{value:.1f}", f"{value / total:.1%}")
        console.print(table)


def measure_training(
    trainer: Trainer[Any], batches: Iterator[TrainingBatch], bare: Callable[[], None], *, images: int, steps: int
) -> TrainingSpeed:
    """Measures the bare loop and the training in turn, since a machine's speed drifts; then the parts of a step.

    Args:
        trainer: What trains.
        batches: Its batches.
        bare: One forward and backward pass of a batch that lies in memory.
        images: Images of a batch.
        steps: Steps of a round; a first round is thrown away.
    """

    def bare_round() -> None:
        for _ in range(steps):
            bare()

    def whole_round() -> None:
        for batch in islice(batches, steps):
            trainer.train_step(batch, 0.5)

    rates: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS + 1):
        for values, work in zip(rates, (bare_round, whole_round), strict=True):
            values.append(steps * images / _seconds(work))
    return TrainingSpeed(rates[0][1:], rates[1][1:], _stages(trainer, batches, steps))


def _stages(trainer: Trainer[Any], batches: Iterator[TrainingBatch], steps: int) -> dict[str, float]:
    """Milliseconds of each part of a step; what belongs to no part is the loop's own."""
    spent: dict[str, float] = {}
    started_forward = 0.0

    def before(*_: object) -> None:
        nonlocal started_forward
        started_forward = _now()

    def after(*_: object) -> None:
        spent["forward"] = _now() - started_forward

    hooks = [trainer.objective.register_forward_pre_hook(before), trainer.objective.register_forward_hook(after)]
    watched = [
        _watch(trainer.accelerator, "backward", spent, "backward"),
        _watch(trainer.accelerator, "clip_grad_norm_", spent, "gradient norm"),
        _watch(trainer.optimizer, "step", spent, "optimizer"),
        _watch(trainer.average, "update", spent, "average"),
    ]
    rows: list[dict[str, float]] = []
    for _ in range(steps):
        spent.clear()
        views, batch = _timed(lambda: next(batches))
        whole, _ = _timed(lambda: trainer.train_step(batch, 0.5))  # noqa: B023  called at once
        rows.append({"views": views, **spent, "the rest": whole - sum(spent.values())})
    for undo in [*(hook.remove for hook in hooks), *watched]:
        undo()
    return {name: 1000 * median(row[name] for row in rows) for name in rows[0]}


def _watch(owner: Any, name: str, spent: dict[str, float], label: str) -> Callable[[], None]:
    """Times each call of a method of one object; returns what puts the method back."""
    method = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        spent[label], result = _timed(lambda: method(*arguments, **options))
        return result

    setattr(owner, name, timed)
    return lambda: delattr(owner, name)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = _now()
    result = work()
    return _now() - started, result


def _seconds(work: Callable[[], None]) -> float:
    return _timed(work)[0]


def _now() -> float:
    """The time in seconds, once every device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
    return time.perf_counter()


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.0f}" if value >= 100 else f"{value:.1f}" for value in values)

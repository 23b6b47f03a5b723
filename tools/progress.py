"""Progress on the terminal: live bars with the time left, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from detection.training_task import StepReport

PLAIN_SECONDS = 15.0
"""Seconds between two lines where there is no terminal."""


def _describe(report: StepReport) -> str:
    parts = "  ".join(f"{name} {value:.3f}" for name, value in report.losses.items())
    total = sum(report.losses.values())
    speed = f"{report.images_per_second:.1f} img/s"
    return f"epoch {report.epoch + 1}  step {report.step}  loss {total:.3f} ({parts})  {speed}"


class TrainingDisplay:
    """Shows how training goes.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Progress(
            BarColumn(), TextColumn("{task.percentage:>3.0f}% {task.description}"), TimeElapsedColumn(),
            TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID = self._bar.add_task("starting", total=1.0)
        self._started = self._told = time.monotonic()
        self._progress_before: float | None = None  # of earlier sittings

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def show(self, report: StepReport) -> None:
        """Takes a step's report; a listener of the trainer."""
        if self._progress_before is None:
            self._progress_before = report.progress
        self._bar.update(self._task, completed=report.progress, description=_describe(report))
        now = time.monotonic()
        if not self.console.is_terminal and now - self._told >= PLAIN_SECONDS:
            self._told = now
            done = max(report.progress - self._progress_before, 1e-6)
            left = (now - self._started) * (1 - report.progress) / done
            self.console.print(f"{report.progress:4.0%}  {_describe(report)}  {left / 60:.1f} min left")


@contextmanager
def tracking(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """As ``counting``, for work whose amount is known only once it has begun.

    Yields:
        What to call after each thing, with things done and things to do.
    """
    with ExitStack() as stack:
        advance: Callable[[], None] | None = None

        def track(done: int, total: int) -> None:
            nonlocal advance
            if advance is None:
                advance = stack.enter_context(counting(console, total, what))
            advance()

        yield track


@contextmanager
def counting(console: Console, total: int, what: str, *, done: int = 0) -> Iterator[Callable[[], None]]:
    """Shows a bar over ``total`` things, or a line now and then where there is no terminal.

    Yields:
        What to call after each thing.
    """
    bar = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console,
        disable=not console.is_terminal,
    )  # fmt: skip
    task = bar.add_task(what, total=total, completed=done)
    told = time.monotonic()

    def advance() -> None:
        nonlocal told
        bar.advance(task)
        if not console.is_terminal and time.monotonic() - told >= PLAIN_SECONDS:
            told = time.monotonic()
            console.print(f"{what}: {bar.tasks[0].completed:.0f} of {total}")

    with bar:
        yield advance

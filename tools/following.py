"""How every training is followed: on which device, what is told of it, how a signal stops it and how it ends."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
import typer
from accelerate import Accelerator, DistributedDataParallelKwargs
from rich.console import Console

from detection.device import Compute, choose_compute, precision_name
from detection.engine import Trainer
from detection.errors import InputError
from detection.memory import is_short_of_memory, peak_gib
from detection.processes import are_several
from detection.schedule import Budget, StepBudget, TimeBudget
from detection.training_log import Log
from detection.training_task import Evaluate, Network, StepReport
from detection.validation import Validation
from tools.cli import EXIT_STOPPED
from tools.progress import TrainingDisplay


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into a call of ``stop``; a second Ctrl-C interrupts at once, as usual."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_accelerator(device_name: str, precision_name: str) -> tuple[Accelerator, Compute]:
    """Device and precision as the training loop wants them; processes that were started together meet here.

    Raises:
        InputError: If the device is not there.
    """
    compute = choose_compute(device_name, precision_name)
    device = compute.device
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    mixed = "bf16" if compute.precision == torch.bfloat16 else "no"
    # Statistics of batch normalisation are the same everywhere already: nothing is to be sent.
    handler = DistributedDataParallelKwargs(broadcast_buffers=False)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=mixed, kwargs_handlers=[handler])
    return accelerator, compute._replace(device=accelerator.device)


def choose_budget(console: Console, compute: Compute, *, minutes: float | None, steps: int) -> Budget:
    """Minutes where they are given, else steps; prints where, in which precision and for how long the run trains."""
    budget: Budget = TimeBudget(minutes * 60) if minutes else StepBudget(steps)
    console.print(f"{compute.device}, {precision_name(compute.precision)}, {budget.describe()}")
    return budget


def restore_state(trainer: Trainer[Network], console: Console) -> bool:
    """Takes up the state of the folder's run, if there is one.

    Returns:
        Whether there was one; if not, the run starts at step 0 and says so.
    """
    if not trainer.state.path.is_file():
        console.print(f"{trainer.state.path}: no saved state; starts at step 0")
        return False
    trainer.restore()
    console.print(f"goes on at step {trainer.step}")
    return True


class Ending(NamedTuple):
    """How a training ended: whether its budget is spent, and whether a signal asked to stop, even if too late."""

    finished: bool
    signalled: bool


def follow(
    trainer: Trainer[Network], console: Console, log: Log, evaluate: Evaluate | None, *, evaluate_every: int
) -> Ending:
    """Trains, shows and logs every step, and saves at a signal."""
    signalled = False

    def stop() -> None:
        nonlocal signalled
        signalled = True
        trainer.request_stop()

    with TrainingDisplay(console) as display, closing(log):

        def listen(report: StepReport) -> None:
            display.show(report)
            log.write("train", report.step, {**report.losses, **report.course})

        with stopping_on_signals(stop), _telling_lost_processes(), _telling_what_memory_lacks(trainer):
            finished = trainer.fit(listen, evaluate, evaluate_every=evaluate_every)
    return Ending(finished, signalled)


@contextmanager
def _telling_lost_processes() -> Iterator[None]:
    """Says so when one of several processes is gone, which the others notice as a fault of their connection."""
    try:
        yield
    except RuntimeError as error:
        if not are_several() or not re.search("connection|peer|timed out|timeout", str(error), re.IGNORECASE):
            raise
        raise InputError(
            "another process of this training is gone (its own message says why); the last saved state is kept: start "
            "the same command with --resume"
        ) from error


@contextmanager
def _telling_what_memory_lacks(trainer: Trainer[Network]) -> Iterator[None]:
    """Says which options help when memory that sufficed at the start does so no more."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if is_short_of_memory(error):
            options = " or ".join(trainer.settings.memory_options)
            helps = f"free some, or start anew in another --out and lower {options}"
        elif "DataLoader worker" in str(error) or "shared memory" in str(error):
            helps = "a reading process died, usually for lack of it; lower train.workers or train.cache_mb"
        else:
            raise
        reason = " ".join(str(error).splitlines()[-1:])  # of a reading process it is the end of its traceback
        raise InputError(
            f"step {trainer.step}: memory is short ({reason}); {helps}. The last saved state is kept: the same command "
            "with --resume goes on"
        ) from error


def rehearse(trainer: Trainer[Network], console: Console) -> None:
    """Tries the largest batch and says what it took.

    This comes before anything is written, as a run that does not fit has to be started over.

    Raises:
        InputError: If the memory is too small.
    """
    batch = trainer.rehearse()
    count, _, height, width = batch.tensors()["images"].shape
    peak = peak_gib(trainer.accelerator.device)
    memory = "" if peak is None else f"; memory at most {peak:.1f} GiB so far"
    console.print(f"largest batch tried: {count} images of {width} x {height} pixels{memory}")


def until_exhausted(validation: Validation[Network], trainer: Trainer[Network]) -> Evaluate:
    """The validation, which also stops the trainer when patience runs out; at once if it had run out before."""

    def evaluate(network: Network, step: int) -> None:
        validation(network, step)
        if validation.standing.exhausted:
            trainer.request_stop()

    if validation.standing.exhausted:
        trainer.request_stop()
    return evaluate


def tell_end(
    console: Console, model_path: Path, trainer: Trainer[Network], *, finished: bool, kept: int | None = None
) -> None:
    """Says where the model is and how often it saw the images; ends with ``EXIT_STOPPED`` after a requested stop.

    Args:
        console: Where to tell.
        model_path: The model.
        trainer: At the end of its sitting.
        finished: Whether the run is done.
        kept: Steps of the weights that were kept; None for all of them.
    """
    if finished:
        steps = trainer.step if kept is None else kept
        passes = f"{steps / trainer.source.steps_per_epoch:.1f} passes over the images"
        best = "" if steps == trainer.step else f", the best validated of {trainer.step} steps"
        console.print(f"model: {model_path} after {steps} steps, {passes}{best}")
        return
    so_far = f"; {model_path} holds the weights so far" if model_path.is_file() else ""
    console.print(f"stopped after step {trainer.step}{so_far}; the same command with --resume goes on")
    raise typer.Exit(EXIT_STOPPED)

"""What every training has in common: its folder, its device, its signals and its end."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import typer
from accelerate import Accelerator, DistributedDataParallelKwargs
from rich.console import Console
from torch import nn

from configs.load import dump_config, flatten_config, load_config
from configs.sections import RootConfig
from detection.atomic import atomic_path
from detection.checkpoint import MODEL_NAME
from detection.data.records import ImageRecord
from detection.device import Compute, choose_compute
from detection.engine import Evaluate, StepReport, Trainer, is_short_of_memory
from detection.errors import InputError
from detection.memory import peak_gib
from detection.processes import are_several, launched_place
from detection.schedule import Budget, StepBudget, TimeBudget
from detection.training_log import LOG_NAME, Log, refuse_running
from detection.validation import Validation
from tools.progress import TrainingDisplay

Network = TypeVar("Network", bound=nn.Module)

FREE_TO_CHANGE = (
    "train.workers",
    "train.cache_mb",
    "train.checkpoint_seconds",
    "train.device",
    "train.patience",
)
"""Values that a resume may change: they do not change what is learnt."""

RATES = ("train.learning_rate", "train.muon_learning_rate", "train.gradient_clip")
"""Values that a resume may change too, and says so: the way on from a loss that was not a number."""

EXIT_STOPPED = 75  # EX_TEMPFAIL: a scheduler may run the command again

STATE_NAME = "last/state.safetensors"
"""Everything that an exact resume needs, in a run's folder."""

LAST_MODEL_NAME = "last/model.safetensors"
"""The averaged weights of the last step, where a validation has chosen others."""

_CONFIG_NAME = "config.yaml"


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


def check_run_folder(out: Path, config: RootConfig, *, resume: bool) -> list[str]:
    """Makes sure that a run may be written to ``out``.

    Returns:
        What a resume changes of ``RATES``, to be told.

    Raises:
        InputError: If the folder holds a run and ``resume`` is not asked for, or the run has other settings or is
            running, or the folder holds a model of elsewhere.
    """
    path = out / _CONFIG_NAME
    if not is_first():  # it looks for all, before it writes
        return []
    if not path.exists():
        if (out / MODEL_NAME).exists():
            raise InputError(f"{out}: holds a {MODEL_NAME} and no run; give another --out")
        return []
    if not resume:
        raise InputError(f"{out}: holds a run already; add --resume to go on, or give another --out")
    refuse_running(out)
    before, now = flatten_config(load_config(str(path), schema=type(config))), flatten_config(config)
    changed = {k: f"{k} was {before[k]}, is {now[k]}" for k in now if before[k] != now[k] and k not in FREE_TO_CHANGE}
    if set(changed) - set(RATES):
        raise InputError(f"{path}: {'; '.join(changed.values())}; resume with the same options, or give another --out")
    return list(changed.values())


def tell_changes(console: Console, changes: Sequence[str]) -> None:
    """Says what a resume changes."""
    for change in changes:
        console.print(f"note: {change}, from here on")


def write_config(out: Path, config: RootConfig) -> None:
    """Writes the resolved configuration into the run's folder."""
    with atomic_path(out / _CONFIG_NAME) as draft:
        draft.write_text(dump_config(config), encoding="utf-8")


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


def refuse_several(what: str) -> None:
    """For trainings that one process does.

    Raises:
        InputError: If several were started.
    """
    if launched_place().processes > 1:
        raise InputError(f"{what} runs in one process; start it without accelerate launch or torchrun")


def is_first() -> bool:
    """Whether this process is the one that tells and writes."""
    return launched_place().rank == 0


def goes_on(out: Path, *, resume: bool) -> bool:
    """Whether a run takes up a saved state, and so needs no start weights."""
    return resume and (out / STATE_NAME).is_file()


def choose_budget(console: Console, compute: Compute, *, minutes: float | None, steps: int) -> Budget:
    """Minutes where they are given, else steps; tells where, how precisely and how long the run trains."""
    budget: Budget = TimeBudget(minutes * 60) if minutes else StepBudget(steps)
    console.print(f"{compute.device}, {str(compute.precision).removeprefix('torch.')}, {budget.describe()}")
    return budget


def restore_state(trainer: Trainer[Network], console: Console) -> bool:
    """Takes up the state of the folder's run, if there is one.

    Returns:
        Whether there was one; without, the run starts, and that is told.
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
    """Tries the largest batch and says what it took; before anything is written, as what does not fit starts anew.

    Raises:
        InputError: If the memory is too small.
    """
    batch = trainer.rehearse()
    count, _, height, width = batch.tensors()["images"].shape
    peak = peak_gib(trainer.accelerator.device)
    memory = "" if peak is None else f"; memory at most {peak:.1f} GiB so far"
    console.print(f"largest batch tried: {count} images of {width} x {height} pixels{memory}")


def until_exhausted(validation: Validation[Network], trainer: Trainer[Network]) -> Evaluate:
    """The validation, which also stops the trainer when the patience is at an end; at once if it was before."""

    def evaluate(network: Network, step: int) -> None:
        validation(network, step)
        if validation.standing.exhausted:
            trainer.request_stop()

    if validation.standing.exhausted:
        trainer.request_stop()
    return evaluate


def earlier_validations(out: Path, metric: str) -> list[float | None]:
    """A metric of the validations that a run's log tells of, oldest first; None where it did not exist.

    ``TrainingLog`` has dropped those of steps that a resume takes anew.
    """
    lines = [json.loads(line) for line in (out / LOG_NAME).read_text(encoding="utf-8").splitlines()]
    return [line[metric] for line in lines if line["kind"] == "validation"]


def identity_of(names: Sequence[str]) -> str:
    """Tells sets of names apart: how many, and a digest of them."""
    digest = hashlib.sha256(os.fsencode("\n".join(names))).hexdigest()[:12]
    return f"{len(names)} ({digest})"


def labels_identity(records: Sequence[ImageRecord]) -> str:
    """Tells the labels of images apart: how many objects, and a digest of what is known of them."""
    digest = hashlib.sha256()
    for record in records:
        for column in (record.boxes, record.labels, record.ignore, np.array(record.size_hw)):
            digest.update(np.ascontiguousarray(column).tobytes())
    return f"{sum(len(record.boxes) for record in records)} objects ({digest.hexdigest()[:12]})"


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

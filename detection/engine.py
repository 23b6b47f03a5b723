"""The training loop, of detectors and of classifiers: steps, averages, evaluations, checkpoints.

The objective defines what is learnt, the batch source from what. Nothing here prints or names a device; a listener
hears what happens. Legend: B images of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from detection.averaging import AveragedWeights
from detection.chance import StepChance
from detection.checkpoint import load_state, save_state, save_tensors
from detection.errors import InputError, NonFiniteLossError
from detection.processes import first_and_any, mean_of_all, place
from detection.schedule import Budget, Schedule
from detection.synced_norm import sync_batch_norms

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; see ``configs.schema`` for the meaning and unit of each value.

    Attributes:
        memory_options: Names of the options that a run short of memory can lower.
    """

    ema_decay: float
    gradient_clip: float
    seed: int
    checkpoint_seconds: float
    memory_options: tuple[str, ...] = ()


BAD_BATCH_NAME = "bad_batch.safetensors"
"""Beside the state: the batch whose loss was not a number."""

BATCH_FORMAT = "multibox-rcnn batch 1"


def is_short_of_memory(error: Exception) -> bool:
    """Whether an error means that there was no memory, of the processor or of a GPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


class TrainingBatch(Protocol):
    """The images of one step."""

    @property
    def file_names(self) -> Sequence[str]:
        """B names, for messages."""

    @property
    def errors(self) -> Mapping[str, str]:
        """File name -> reason, of those not readable."""

    def inputs(self, device: torch.device) -> tuple[Any, ...]:
        """What the objective takes, on a device."""

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, to be kept in a file."""


class BatchSource(Protocol):
    """Where batches come from; the same steps give the same batches."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the images."""

    def batches(self, first_step: int, progress_at: Callable[[int], float]) -> Iterable[TrainingBatch]:
        """Batches without end, from a step on; ``progress_at`` tells the share of the budget spent before a step."""

    def largest_batch(self) -> TrainingBatch:
        """One that takes about as much memory as any of the run."""


@dataclass(frozen=True)
class StepReport:
    """What happened in one step.

    Attributes:
        step: Steps done, this one included.
        epoch: Whole passes over the images done.
        losses: Weighted losses by name.
        learning_rate: Of the step.
        images_per_second: Training alone, so far in this sitting.
        progress: Share of the budget spent before the step.
    """

    step: int
    epoch: int
    losses: Mapping[str, float]
    learning_rate: float
    images_per_second: float
    progress: float

    @property
    def course(self) -> dict[str, float]:
        """The numbers beside the losses, for a log."""
        return {
            "epoch": self.epoch,
            "learning_rate": self.learning_rate,
            "images_per_second": round(self.images_per_second, 3),
            "progress": round(self.progress, 6),
        }


@dataclass(frozen=True)
class StateFile:
    """Where a run keeps its state, and which run that is.

    Attributes:
        path: The file.
        identity: What must be the same on a resume: name -> value.
    """

    path: Path
    identity: Mapping[str, str]

    def check(self, found: Mapping[str, str]) -> None:
        """Compares the identity of a saved state.

        Raises:
            InputError: If a value differs; names each with both values.
        """
        changed = [f"{k} was {found.get(k)}, is {v}" for k, v in self.identity.items() if found.get(k) != v]
        if changed:
            raise InputError(f"{self.path}: {'; '.join(changed)}; resume with the same command, or give another --out")


Listener = Callable[[StepReport], None]
"""Hears about every step."""

Evaluate = Callable[[Any, int], None]
"""Judges the averaged network at a step; it must leave the network as it is."""


@dataclass(frozen=True)
class TrainingTask(Generic[Network]):
    """What is learnt, from what, and how the weights move.

    Attributes:
        objective: Network and losses as one module: inputs of a batch and a source of chance -> loss by name.
        network: The part of it that is averaged, judged and kept.
        source: Where the batches come from.
        optimizer: Of the objective's parameters; its learning rates are the peaks.
        schedule: Share of the peak learning rate, by progress and epoch.
    """

    objective: nn.Module
    network: Network
    source: BatchSource
    optimizer: torch.optim.Optimizer
    schedule: Schedule


class Trainer(Generic[Network]):
    """One training run, which can stop anywhere and go on.

    Args:
        task: What is learnt.
        settings: How to train.
        budget: What the run may spend.
        accelerator: Device and precision.
        state: Where the state for a resume is kept, and of which run it is.
    """

    def __init__(
        self,
        task: TrainingTask[Network],
        *,
        settings: TrainingSettings,
        budget: Budget,
        accelerator: Accelerator,
        state: StateFile,
    ) -> None:
        self.settings = settings
        self.budget = budget
        self.accelerator = accelerator
        self.state = state
        self.network = task.network
        self.source = task.source
        self.schedule = task.schedule
        if accelerator.num_processes > 1:
            sync_batch_norms(task.objective)
        task.objective.to(accelerator.device).to(memory_format=torch.channels_last)
        self.average = AveragedWeights(self.network, settings.ema_decay)
        self.objective, self.optimizer = accelerator.prepare(task.objective.train(), task.optimizer)
        self._peaks = [group["lr"] for group in task.optimizer.param_groups]
        self.step = 0
        self.unreadable: dict[str, str] = {}
        self._evaluated_at = -1
        self._evaluation_seconds = self._evaluation_seconds_before = 0.0
        self._seconds_before = 0.0
        self._stop_requested = False
        self._seen = 0
        self._training_seconds = 0.0

    @property
    def evaluation_share(self) -> float:
        """The part of this sitting's time that evaluations took, beside its steps."""
        seconds = self._evaluation_seconds - self._evaluation_seconds_before
        return seconds / max(seconds + self._training_seconds, 1e-6)

    def request_stop(self) -> None:
        """Asks ``fit`` to save and return after the step it is in; for signal handlers."""
        self._stop_requested = True

    def rehearse(self) -> TrainingBatch:
        """Computes losses and gradients of the largest batch and forgets them: what does not fit fails now, not late.

        Returns:
            The batch.

        Raises:
            InputError: If the memory is too small; names the options that help.
        """
        buffers = [buffer.clone() for buffer in self.objective.buffers()]  # statistics of batch normalisation
        try:
            batch = self.source.largest_batch()
            losses = self.objective(*batch.inputs(self.accelerator.device), StepChance(self.settings.seed, 0))
            self.accelerator.backward(torch.stack(list(losses.values())).sum())
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_short_of_memory(error):
                raise
            options = " or ".join(self.settings.memory_options)
            raise InputError(f"the largest batch does not fit the memory ({error}); lower {options}") from error
        for buffer, kept in zip(self.objective.buffers(), buffers, strict=True):
            buffer.copy_(kept)
        self.optimizer.zero_grad()
        return batch

    def fit(self, listener: Listener, evaluate: Evaluate | None, *, evaluate_every: int = 1) -> bool:
        """Trains until the budget is spent.

        Args:
            listener: Hears about every step.
            evaluate: Judges the average every ``evaluate_every`` epochs and at the end; None never does.
            evaluate_every: Epochs between evaluations; more pass where they would take over a tenth of the time.

        Returns:
            True if the budget is spent; False if a stop was requested before. The state is saved either way.

        Raises:
            NonFiniteLossError: If a loss or a gradient is not finite; the weights are those of the step before.
        """
        self.budget.start(self._seconds_before)
        saved_at = time.monotonic()
        progress = 0.0
        for batch in self.source.batches(self.step, self.budget.progress):
            progress, stop = self._agree(self.budget.progress(self.step), self._stop_requested)
            if progress >= 1 or stop:
                break
            listener(self._timed_step(batch, progress))
            epoch, done = divmod(self.step, self.source.steps_per_epoch)
            if evaluate is not None and done == 0 and epoch % evaluate_every == 0 and self._can_afford_evaluation():
                self._evaluate(evaluate)
            if time.monotonic() - saved_at > self.settings.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
        finished = progress >= 1
        if finished and evaluate is not None and self._evaluated_at != self.step:
            self._evaluate(evaluate)
        self.save()
        return finished

    def _agree(self, progress: float, flag: bool) -> tuple[float, bool]:
        """What all processes go by, as their clocks differ: the progress of the first, and whether any set the flag."""
        return first_and_any(progress, flag, self.accelerator.device)

    def _can_afford_evaluation(self) -> bool:
        """Evaluations may take a tenth of a time budget, or as long as they want where time does not count."""
        spent = self.budget.seconds_spent
        too_dear = spent is not None and self._evaluation_seconds > 0.1 * spent
        return not self._agree(0.0, too_dear)[1]

    def _evaluate(self, evaluate: Evaluate) -> None:
        started = time.monotonic()
        evaluate(self.average.network, self.step)
        self._evaluation_seconds += time.monotonic() - started
        self._evaluated_at = self.step

    def _timed_step(self, batch: TrainingBatch, progress: float) -> StepReport:
        started = time.monotonic()
        losses = self.train_step(batch, progress)
        self._training_seconds += time.monotonic() - started
        self._seen += len(batch.file_names) * self.accelerator.num_processes
        self.unreadable |= batch.errors
        rate = self._seen / max(self._training_seconds, 1e-6)
        learning_rate = self.optimizer.param_groups[0]["lr"]
        epoch = self.step // self.source.steps_per_epoch
        return StepReport(self.step, epoch, losses, learning_rate, rate, progress)

    def train_step(self, batch: TrainingBatch, progress: float) -> dict[str, float]:
        """Forward, backward, update; returns the losses."""
        factor = self.schedule(progress, self.step // self.source.steps_per_epoch)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        seed = self.settings.seed * 1_000_003 + self.step
        torch.manual_seed(seed + (place().rank << 48))  # for dropout, which takes no generator
        chance = StepChance(self.settings.seed, self.step, first_row=place().rank * len(batch.file_names))
        losses: dict[str, Tensor] = self.objective(*batch.inputs(self.accelerator.device), chance)
        own = torch.stack([loss.detach() for loss in losses.values()])
        self._refuse_non_finite(dict(zip(losses, own.tolist(), strict=True)), batch)
        values = dict(zip(losses, mean_of_all(own).tolist(), strict=True))
        self.accelerator.backward(torch.stack(list(losses.values())).sum())
        norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), self.settings.gradient_clip)
        self._refuse_non_finite({"the gradient": float(norm)}, batch)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.network)
        self.step += 1
        return values

    def _refuse_non_finite(self, numbers: Mapping[str, float], batch: TrainingBatch) -> None:
        bad = [name for name, value in numbers.items() if not np.isfinite(value)]
        if not self._agree(0.0, bool(bad))[1]:
            return
        if not bad:
            raise NonFiniteLossError(f"step {self.step}: another process has met a loss that is not a number")
        kept = self.state.path.with_name(BAD_BATCH_NAME)
        header = {
            "step": self.step,
            "files": list(batch.file_names),
            "numbers": {k: str(v) for k, v in numbers.items()},
        }
        save_tensors(kept, batch.tensors(), BATCH_FORMAT, header)
        raise NonFiniteLossError(
            f"step {self.step}: {', '.join(bad)} is not finite on the images {', '.join(batch.file_names)}; the "
            f"step was not taken, and the batch is kept in {kept}. Check these images (`multibox check` does for "
            f"detection data), or go on from the last saved state with --resume and a lower --set "
            f"train.learning_rate=... and, with Muon, train.muon_learning_rate=..."
        )

    def save(self) -> None:
        """Writes the state for an exact resume; one process does it for all, who have the same."""
        if not self.accelerator.is_main_process:
            return
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.network.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items() if v is not None}
        header: dict[str, Any] = {
            "identity": dict(self.state.identity),
            "step": self.step,
            "updates": self.average.updates,
            "seconds": self.budget.seconds_spent,
            "evaluated_at": self._evaluated_at,
            "evaluation_seconds": self._evaluation_seconds,
            "unreadable": self.unreadable,
        }
        save_state(self.state.path, tensors, header)

    def restore(self) -> None:
        """Takes up the state that ``save`` wrote; the run goes on as if it had never stopped.

        Raises:
            InputError: If there is no state, or it belongs to another run.
        """
        tensors, header = load_state(self.state.path)
        self.state.check(header.get("identity", {}))
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
        try:
            for name, tensor in tensors.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = tensor
            self.network.load_state_dict(parts["network"])
            self.average.load(parts["average"], header["updates"])
            self._restore_optimizer(parts["optimizer"])
            self.step, self._evaluated_at = header["step"], header["evaluated_at"]
            self.unreadable = header["unreadable"]
            self._seconds_before = header["seconds"] or 0.0
            self._evaluation_seconds = self._evaluation_seconds_before = header["evaluation_seconds"]
        except (LookupError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.state.path}: belongs to another network: {error}") from error

    def _restore_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes up the moments, in the memory layout of their parameters."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state = self.optimizer.state_dict()
        state["state"] = {}
        for name, tensor in tensors.items():
            index, _, key = name.partition(".")
            moment = tensor if tensor.ndim == 0 else torch.empty_like(parameters[int(index)]).copy_(tensor)
            state["state"].setdefault(int(index), {})[key] = moment
        self.optimizer.load_state_dict(state)

"""The training loop, of detectors and of classifiers: steps, averages, evaluations, checkpoints.

The objective defines what is learnt, the batch source from what. Nothing here prints or names a device; a listener
hears what happens. Legend: B images of a batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Generic

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from detection.averaging import AveragedWeights
from detection.chance import StepChance, dropout_seed
from detection.checkpoint import save_tensors
from detection.errors import InputError, NonFiniteLossError
from detection.memory import is_short_of_memory
from detection.processes import first_and_any, mean_of_all, place
from detection.schedule import Budget
from detection.synced_norm import sync_batch_norms
from detection.training_state import StateFile, optimizer_tensors, restore_optimizer
from detection.training_task import (
    Evaluate,
    Listener,
    Network,
    StepReport,
    TrainingBatch,
    TrainingSettings,
    TrainingTask,
)

BAD_BATCH_NAME = "bad_batch.safetensors"
"""Beside the state: the batch whose loss was not a number."""

MOST_LOST = 16
"""Batches in a row of which half of the files could not be read, at which training stops."""

_FEW_LOST = 4
"""Such batches in a row, from which on the state is no longer saved."""

BATCH_FORMAT = "multibox-rcnn batch 1"


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
        self._reads: deque[tuple[int, int]] = deque(maxlen=MOST_LOST)  # files not readable, and all, of a batch
        self._evaluated_at = -1
        self._evaluation_seconds = self._evaluation_seconds_before = 0.0
        self._seconds_before = 0.0
        self._stop_requested = False
        self._seen = 0
        self._training_seconds = 0.0

    @property
    def evaluation_share(self) -> float:
        """The share of this sitting's time that evaluations took; the rest is its steps."""
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
            True if the budget is spent; False if a stop was requested before. The state is saved either way, unless the
            images are being lost.

        Raises:
            NonFiniteLossError: If a loss or a gradient is not finite; the weights are those of the step before.
            InputError: If half of the files of the last ``MOST_LOST`` batches could not be read; the state that was
                saved last is of before.
        """
        self.budget.start(self._seconds_before)
        saved_at = time.monotonic()
        progress = 0.0
        for batch in self.source.batches(self.step, self.budget.progress):
            progress, stop = self._agree(self.budget.progress(self.step), self._stop_requested)
            if progress >= 1 or stop:
                break
            self._refuse_lost_images(batch)
            listener(self._timed_step(batch, progress))
            epoch, done = divmod(self.step, self.source.steps_per_epoch)
            if evaluate is not None and done == 0 and epoch % evaluate_every == 0 and self._can_afford_evaluation():
                self._evaluate(evaluate)
            if time.monotonic() - saved_at > self.settings.checkpoint_seconds and not self._is_lost(_FEW_LOST):
                self.save()
                saved_at = time.monotonic()
        finished = progress >= 1
        if finished and evaluate is not None and self._evaluated_at != self.step:
            self._evaluate(evaluate)
        if not self._is_lost(_FEW_LOST):
            self.save()
        return finished

    def _refuse_lost_images(self, batch: TrainingBatch) -> None:
        """Stops where the images are gone (a drive, a network): blanks would undo what was learnt."""
        self._reads.append((len(batch.errors), batch.num_files))
        if self._is_lost(MOST_LOST):
            lost, files = map(sum, zip(*self._reads, strict=True))
            reason = next(iter(batch.errors.values()), "")
            raise InputError(
                f"{lost} of the last {files} images could not be read, so training stopped ({reason}); make them "
                f"readable again and go on with --resume"
            )

    def _is_lost(self, batches: int) -> bool:
        """Whether half of the files of the last ones could not be read."""
        last = list(self._reads)[-batches:]
        return len(last) == batches and 2 * sum(lost for lost, _ in last) >= sum(files for _, files in last)

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
        torch.manual_seed(dropout_seed(self.settings.seed, self.step, place().rank))  # dropout takes no generator
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
        """Writes the state for an exact resume; one process does it for all, since all have the same."""
        if not self.accelerator.is_main_process:
            return
        parts = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        course = {
            "step": self.step,
            "updates": self.average.updates,
            "seconds": self.budget.seconds_spent,
            "evaluated_at": self._evaluated_at,
            "evaluation_seconds": self._evaluation_seconds,
            "unreadable": self.unreadable,
        }
        self.state.write(parts, course)

    def restore(self) -> None:
        """Takes up the state that ``save`` wrote; the run goes on as if it had never stopped.

        Raises:
            InputError: If there is no state, or it belongs to another run.
        """
        parts, course = self.state.read()
        try:
            if others := set(parts) - {"network", "average", "optimizer"}:
                raise ValueError(f"it holds {', '.join(sorted(others))} too")
            self.network.load_state_dict(parts["network"])
            self.average.load(parts["average"], int(course["updates"]))
            restore_optimizer(self.optimizer, parts["optimizer"])
            self.step, self._evaluated_at = int(course["step"]), int(course["evaluated_at"])
            self.unreadable = course["unreadable"]
            self._seconds_before = course["seconds"] or 0.0
            self._evaluation_seconds = self._evaluation_seconds_before = course["evaluation_seconds"]
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.state.path}: belongs to another network: {error}") from error

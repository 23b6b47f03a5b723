"""The training loop: steps, averages, evaluations, checkpoints.

Nothing here prints or names a device; a listener hears what happens. Legend: B images of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from detection.averaging import AveragedWeights
from detection.checkpoint import load_state, save_state
from detection.data.loader import Batch, BatchPlan, TrainingSet, make_loader
from detection.errors import InputError
from detection.losses import TrainingObjective
from detection.network import DetectionNetwork
from detection.schedule import Budget, TimeBudget, input_side, learning_rate_factor


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; see ``configs.schema`` for the meaning and unit of each value."""

    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    ema_decay: float
    gradient_clip: float
    seed: int
    workers: int
    longest_side: int
    low_resolution_fraction: float
    low_resolution_scale: float
    checkpoint_seconds: float


@dataclass(frozen=True)
class StepReport:
    """What happened in one step.

    Attributes:
        step: Steps done, this one included.
        epoch: Whole passes over the images done.
        losses: Weighted losses by name.
        learning_rate: Of the step.
        images_per_second: So far in this sitting.
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


class NonFiniteLossError(RuntimeError):
    """A loss that is not a number, caught before it reached the weights."""


Listener = Callable[[StepReport], None]
"""Hears about every step."""

Evaluate = Callable[[DetectionNetwork, int], float]
"""Judges the averaged network after an epoch: (network, step) -> the metric that decides what is best."""


def make_optimizer(network: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; biases and normalisation do not decay."""
    decaying, free = [], []
    for name, parameter in network.named_parameters():
        (free if parameter.ndim <= 1 or name.endswith("bias") else decaying).append(parameter)
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate)


class Trainer:
    """One training run, which can stop anywhere and go on.

    Args:
        objective: Network and losses.
        training_set: The images.
        settings: How to train.
        budget: What the run may spend.
        accelerator: Devices, processes and precision.
        state_path: Where the state for a resume is kept.
    """

    def __init__(
        self,
        objective: TrainingObjective,
        training_set: TrainingSet,
        *,
        settings: TrainingSettings,
        budget: Budget,
        accelerator: Accelerator,
        state_path: Path,
    ) -> None:
        self.settings = settings
        self.budget = budget
        self.accelerator = accelerator
        self.state_path = state_path
        self.training_set = training_set
        self.network = objective.network
        objective.to(accelerator.device).to(memory_format=torch.channels_last)
        self.average = AveragedWeights(self.network, settings.ema_decay)
        optimizer = make_optimizer(
            self.network, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.objective, self.optimizer = accelerator.prepare(objective.train(), optimizer)
        self.step = 0
        self.best_metric: float | None = None
        self._stop_requested = False
        self._seen = 0
        self._evaluated_at = -1
        self._seconds_before = 0.0
        self._saved_at = self._started_at = time.monotonic()

    def request_stop(self) -> None:
        """Asks ``fit`` to save and return after the step it is in; for signal handlers."""
        self._stop_requested = True

    def fit(self, listener: Listener, evaluate: Evaluate | None, *, evaluate_every: int = 1) -> bool:
        """Trains until the budget is spent.

        Args:
            listener: Hears about every step.
            evaluate: Judges the average every ``evaluate_every`` epochs and at the end; None never does.
            evaluate_every: Epochs between evaluations.

        Returns:
            True if the budget is spent; False if a stop was requested before. The state is saved either way.

        Raises:
            NonFiniteLossError: If a loss is not finite; the weights are those of the step before.
        """
        self._start_clocks()
        plan = self._plan()
        for batch in make_loader(self.training_set, plan, workers=self.settings.workers):
            progress = self.budget.progress(self.step)
            if progress >= 1:
                break
            losses = self._train_step(batch, progress)
            self._seen += len(batch.targets)
            epoch, done = divmod(self.step, plan.steps_per_epoch)
            listener(self._report(epoch, losses, progress))
            if evaluate is not None and done == 0 and epoch % evaluate_every == 0:
                self._evaluate(evaluate)
            if self._stop_requested:
                self.save()
                return False
            if time.monotonic() - self._saved_at > self.settings.checkpoint_seconds:
                self.save()
        if evaluate is not None and self._evaluated_at != self.step:
            self._evaluate(evaluate)
        self.save()
        return True

    def _plan(self) -> BatchPlan:
        s = self.settings
        aspects = np.array([record.size_hw[0] / record.size_hw[1] for record in self.training_set.records])
        return BatchPlan(aspects, batch_size=s.batch_size, seed=s.seed, first_step=self.step, side_at=self._input_side)

    def _evaluate(self, evaluate: Evaluate) -> None:
        metric = evaluate(self.average.network, self.step)
        self.best_metric = metric if self.best_metric is None else max(metric, self.best_metric)
        self._evaluated_at = self.step

    def _start_clocks(self) -> None:
        """What came before the first step (building, reading) does not count."""
        self._saved_at = self._started_at = time.monotonic()
        if isinstance(self.budget, TimeBudget):
            self.budget.restart(self._seconds_before)

    def _input_side(self, step: int) -> int:
        s = self.settings
        return input_side(
            self.budget.progress(step),
            longest_side=s.longest_side,
            fraction=s.low_resolution_fraction,
            scale=s.low_resolution_scale,
        )

    def _train_step(self, batch: Batch, progress: float) -> dict[str, float]:
        """Forward, backward, update; returns the losses."""
        device = self.accelerator.device
        factor = learning_rate_factor(progress, self.settings.warmup_fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        targets = [target.to(device) for target in batch.targets]
        losses: dict[str, Tensor] = self.objective(batch.images.to(device), targets, generator)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        self._refuse_non_finite(values, batch)
        self.accelerator.backward(torch.stack(list(losses.values())).sum())
        self.accelerator.clip_grad_norm_(self.objective.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.network)
        self.step += 1
        return values

    def _refuse_non_finite(self, losses: Mapping[str, float], batch: Batch) -> None:
        bad = [name for name, value in losses.items() if not np.isfinite(value)]
        if bad:
            raise NonFiniteLossError(
                f"step {self.step}: {', '.join(bad)} is not finite on the images {', '.join(batch.file_names)}; the "
                f"weights are those of the step before. Check these images with `multibox check`, or lower the "
                f"learning rate (now {self.optimizer.param_groups[0]['lr']:g}) with --set train.learning_rate=..."
            )

    def _report(self, epoch: int, losses: Mapping[str, float], progress: float) -> StepReport:
        seconds = max(time.monotonic() - self._started_at, 1e-6)
        rate = self._seen / seconds
        return StepReport(self.step, epoch, losses, self.optimizer.param_groups[0]["lr"], rate, progress)

    def save(self) -> None:
        """Writes the state for an exact resume."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.network.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        spent = self.budget.spent if isinstance(self.budget, TimeBudget) else None
        header: dict[str, Any] = {
            "step": self.step,
            "updates": self.average.updates,
            "seconds": spent,
            "best_metric": self.best_metric,
        }
        save_state(self.state_path, tensors, header)
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        """Takes up the state that ``save`` wrote; the run goes on as if it had never stopped.

        Raises:
            InputError: If there is no state, or it belongs to another network.
        """
        tensors, header = load_state(self.state_path)
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        try:
            self.network.load_state_dict(parts["network"])
        except RuntimeError as error:
            raise InputError(f"{self.state_path}: belongs to another network or class list: {error}") from error
        self.average.load(parts["average"], header["updates"])
        state = self.optimizer.state_dict()
        state["state"] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            state["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(state)
        self.step, self.best_metric = header["step"], header["best_metric"]
        self._seconds_before = header["seconds"] or 0.0

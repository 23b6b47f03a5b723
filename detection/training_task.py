"""What a training is made of, and what it says as it goes: the loop's side of detectors and of classifiers.

Legend: B images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from detection.schedule import Schedule

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


class TrainingBatch(Protocol):
    """The images of one step."""

    @property
    def file_names(self) -> Sequence[str]:
        """B names, for messages."""

    @property
    def errors(self) -> Mapping[str, str]:
        """File name -> reason, of those not readable."""

    @property
    def num_files(self) -> int:
        """How many files its images are made of."""

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


@dataclass(frozen=True)
class StepReport:
    """What happened in one step.

    Attributes:
        step: Steps done, this one included.
        epoch: Whole passes over the images done.
        losses: Weighted losses by name.
        learning_rate: Learning rate of the step.
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


Listener = Callable[[StepReport], None]
"""Hears about every step."""

Evaluate = Callable[[Any, int], None]
"""Judges the averaged network at a step; it must leave the network as it is."""

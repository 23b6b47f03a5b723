"""Processes that load images beside the main one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

SampleT = TypeVar("SampleT")
BatchT = TypeVar("BatchT")

GRACE_SECONDS = 60
MOST_GRACES = 60
"""How often a worker looks before it obeys in any case: an hour, longer than validations usually take."""


def start_worker(worker: int) -> None:
    """Sets up a loader's process: the main process alone answers Ctrl-C, and SIGTERM if all of them get it.

    ``timeout``, systemd and SLURM send it to every process at once. The main one still takes batches until it has saved
    its state, perhaps behind a long validation, and ends its workers itself; so a worker obeys only once it has been
    left alone, or after ``MOST_GRACES`` looks, one every ``GRACE_SECONDS``.
    """
    main, graces = os.getppid(), 0

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal graces
        graces += number == signal.SIGALRM
        if graces and (os.getppid() != main or graces > MOST_GRACES):
            os._exit(128 + signal.SIGTERM)
        signal.alarm(GRACE_SECONDS)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":  # has no such signals from outside
        signal.signal(signal.SIGTERM, wait)
        signal.signal(signal.SIGALRM, wait)


def make_loader(
    dataset: Dataset[SampleT],
    plan: Sampler[Any] | Sequence[Any],
    collate: Callable[[Sequence[SampleT]], BatchT],
    *,
    workers: int,
) -> Iterable[BatchT]:
    """A loader over all batches of a plan; 0 workers read in this process."""
    return DataLoader(
        dataset,
        batch_sampler=plan,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=start_worker,
        generator=torch.Generator(),  # else it would draw from torch's own
    )

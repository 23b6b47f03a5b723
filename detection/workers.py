"""Processes that load images beside the main one."""

from __future__ import annotations

import signal
import sys

GRACE_SECONDS = 60


def start_worker(worker: int) -> None:
    """Sets up a loader's process: the main process alone answers Ctrl-C, and SIGTERM if all of them get it.

    ``timeout``, systemd and SLURM send it to every process at once. The main one still takes batches until it has saved
    its state, so a worker goes on for ``GRACE_SECONDS`` before it obeys; without a reason to stay it is asked to end by
    other means.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":  # has no such signal from outside
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_SECONDS))

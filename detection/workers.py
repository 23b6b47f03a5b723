"""Processes that load images beside the main one."""

from __future__ import annotations

import signal


def start_worker(worker: int) -> None:
    """Sets up a loader's process: the main process alone answers Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

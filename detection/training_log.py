"""What a run leaves behind about its course: ``metrics.jsonl`` and TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch.utils.tensorboard import SummaryWriter

from detection.claim import claim, refuse_claimed
from detection.errors import InputError

LOG_NAME = "metrics.jsonl"


def refuse_running(folder: Path) -> None:
    """Makes sure that nobody else trains into a folder.

    Raises:
        InputError: If somebody does.
    """
    refuse_claimed(folder / LOG_NAME, _taken(folder))


def _taken(folder: Path) -> str:
    return f"{folder}: another process is training into this folder; wait for its end or stop it, or give another --out"


def _bytes_until(path: Path, step: int) -> int:
    """Where the lines of later steps begin, or one that a kill or a power cut left half written."""
    end = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        end += len(line)
    return end


class Log(Protocol):
    """Hears about steps and evaluations."""

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Takes note: ``kind`` is ``train`` or ``validation``."""

    def close(self) -> None:
        """The end."""


class NoLog:
    """Writes nothing: the log of a process other than the one that writes."""

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class TrainingLog:
    """Appends numbers of steps and evaluations to a run's folder.

    Args:
        folder: The run's folder.
        done: Steps that earlier sittings have done; lines of later steps, from a sitting that was killed after its last
            checkpoint, are dropped, so that no step stands twice.

    Raises:
        InputError: If another process trains into the folder.
    """

    def __init__(self, folder: Path, done: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / LOG_NAME).open("a", encoding="utf-8")
        try:
            claim(self._file, _taken(folder))
        except InputError:
            self._file.close()
            raise
        self._file.truncate(_bytes_until(folder / LOG_NAME, done))
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Appends one line and its scalars: ``kind`` is ``train`` or ``validation``."""
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flushes and closes both files."""
        self._file.close()
        self._board.close()

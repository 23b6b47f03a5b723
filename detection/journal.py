"""The journal of a folder detection: one line per image, flushed to disk, so that a killed run goes on.

A line holds what was found in an image or why it could not be read. Its order is the order of the images, so the final
files made from a journal do not depend on where a run was interrupted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from detection.errors import InputError
from detection.structures import Detections

_SYNC_SECONDS = 2.0  # A crash of the machine loses at most this much work; a kill of the process loses none.


@dataclass(frozen=True)
class JournalEntry:
    """What became of one image: detections, or the reason why there are none.

    Attributes:
        file_name: Name relative to the source folder, with forward slashes.
        detections: In pixels of the image; None if it could not be read.
        error: The reason; None if it could be read.
    """

    file_name: str
    detections: Detections | None
    error: str | None = None


def _to_line(entry: JournalEntry) -> str:
    record: dict[str, object] = {"file_name": entry.file_name}
    if entry.detections is None:
        record["error"] = entry.error
    else:
        found = entry.detections
        record |= {
            "size_hw": found.image_size_hw,
            "boxes": found.boxes.tolist(),
            "scores": found.scores.tolist(),
            "labels": found.labels.tolist(),
        }
    return json.dumps(record, ensure_ascii=False) + "\n"


def _from_line(line: str) -> JournalEntry:
    record = json.loads(line)
    if "error" in record:
        return JournalEntry(record["file_name"], None, record["error"])
    height, width = record["size_hw"]
    boxes = torch.tensor(record["boxes"], dtype=torch.float32).reshape(-1, 4)
    scores = torch.tensor(record["scores"], dtype=torch.float32)
    labels = torch.tensor(record["labels"], dtype=torch.int64)
    return JournalEntry(record["file_name"], Detections(boxes, scores, labels, (height, width)))


class Journal:
    """An append-only file of entries.

    Args:
        path: The file.
        settings: What the detections depend on (model, source); a journal of other settings is refused.
        resume: Go on with the file if it is there; else it must not be there.

    Raises:
        InputError: If the file is there without ``resume``, or was written with other settings.
    """

    def __init__(self, path: Path, settings: dict[str, str], *, resume: bool) -> None:
        self.path = path
        first_line = json.dumps({"journal": 1, **settings}, ensure_ascii=False) + "\n"
        if path.exists() and not resume:
            raise InputError(f"{path.parent}: holds detections already; add --resume to go on, or give another --out")
        if path.exists():
            self._check(first_line)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(first_line, encoding="utf-8")
        self.done = {entry.file_name for entry in self}
        self._file = path.open("a", encoding="utf-8")
        self._synced_at = time.monotonic()

    def _check(self, first_line: str) -> None:
        """Cuts off a last line that a kill left half written, and compares the settings."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        with self.path.open(encoding="utf-8") as file:
            if (found := file.readline()) not in ("", first_line):
                raise InputError(
                    f"{self.path}: was written with {found.strip()}, now it is {first_line.strip()}; give another --out"
                )
        if not whole:
            self.path.write_text(first_line, encoding="utf-8")

    def __iter__(self) -> Iterator[JournalEntry]:
        """The entries on disk, in the order they were written, one at a time."""
        with self.path.open(encoding="utf-8") as file:
            next(file, None)
            for line in file:
                yield _from_line(line)

    def append(self, entry: JournalEntry) -> None:
        """Adds an entry; it survives the end of this process at once, and a crash of the machine within seconds."""
        self._file.write(_to_line(entry))
        self._file.flush()
        self.done.add(entry.file_name)
        if time.monotonic() - self._synced_at > _SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced_at = time.monotonic()

    def close(self) -> None:
        """Flushes everything to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

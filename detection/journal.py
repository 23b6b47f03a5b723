"""The journal of a folder detection: one line per image, flushed to disk, so that a killed run goes on.

A line holds what was found in an image or why it could not be read. It is read in the order of the images, whatever was
tried again later, so the final files made from it do not depend on where a run was interrupted. The file is ASCII: JSON
escapes carry every file name, also one that is not UTF-8 (Python's surrogate escapes).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from detection.claim import claim
from detection.errors import InputError
from detection.structures import Detections

# How often what was appended is forced to disk: a crash of the machine loses what came since, a kill of the process
# nothing.
_SYNC_SECONDS = 2.0
_TOO_LARGE = 2**53


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


def _to_record(entry: JournalEntry) -> dict[str, object]:
    if entry.detections is None:
        return {"file_name": entry.file_name, "error": entry.error}
    found = entry.detections
    return {
        "file_name": entry.file_name,
        "size_hw": found.image_size_hw,
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "labels": found.labels.tolist(),
    }


def _from_record(record: Mapping[str, Any]) -> JournalEntry:
    if "error" in record:
        return JournalEntry(record["file_name"], None, record["error"])
    height, width = record["size_hw"]
    boxes = torch.tensor(record["boxes"], dtype=torch.float32).reshape(-1, 4)
    scores = torch.tensor(record["scores"], dtype=torch.float32)
    labels = torch.tensor(record["labels"], dtype=torch.int64)
    return JournalEntry(record["file_name"], Detections(boxes, scores, labels, (height, width)))


def encode_entry(entry: JournalEntry) -> bytes:
    """An entry as its line of the journal."""
    return _to_line(_to_record(entry))


def decode_entry(line: bytes) -> JournalEntry:
    """The entry of a line that ``encode_entry`` made: the same, bit for bit."""
    return _from_record(json.loads(line))


def _to_line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record, ensure_ascii=True).encode("ascii") + b"\n"


def _differences(found: Mapping[str, Any], wanted: Mapping[str, object]) -> str:
    """What a journal was written with that is otherwise now; of models, named by digests, only that they differ."""
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    others = [f"{name} {found.get(name, '')!r}, now {wanted.get(name, '')!r}" for name in names if name != "model"]
    return ", and ".join([*(["another model"] if "model" in names else []), *others])


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None if the line is cut off or damaged."""
    try:
        record: object = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and line.endswith(b"\n") else None


def _is_entry(record: Mapping[str, Any]) -> bool:
    """Whether a record has the fields, types and lengths of an entry; tells without making tensors of it."""
    if not isinstance(record.get("file_name"), str):
        return False
    if "error" in record:
        return isinstance(record["error"], str)
    boxes = record.get("boxes")
    return (
        isinstance(boxes, list)
        and all(_are_numbers(box, 4) for box in boxes)
        and _are_numbers(record.get("scores"), len(boxes))
        and _are_numbers(record.get("labels"), len(boxes))
        and _are_numbers(record.get("size_hw"), 2)
    )


def _are_numbers(values: object, count: int) -> bool:
    """Whether it is a list of ``count`` numbers, each of which a tensor can hold."""
    return isinstance(values, list) and len(values) == count and all(map(_is_number, values))


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < _TOO_LARGE)


class _Tries(NamedTuple):
    """The lines of an image that could not be read at first: where the first and the last start, and its last reason.

    The reason is a hash, or None where it could be read at last.
    """

    first: int
    last: int
    reason: int | None


class Journal:
    """An append-only file of entries. What an earlier sitting could not read is tried again: it may be mended now.

    Args:
        path: The file.
        settings: What the detections depend on (model, source); a journal of other settings is refused.
        resume: Go on with the file if it is there; else it must not be there.

    Attributes:
        path: The file.
        done: Names of the images in it.

    Raises:
        InputError: If the file is there without ``resume``, was written with other settings, or another process is
            writing to it.
    """

    def __init__(self, path: Path, settings: Mapping[str, str], *, resume: bool) -> None:
        if path.exists() and not resume:
            raise InputError(f"{path.parent}: holds detections already; add --resume to go on, or give another --out")
        self.path = path
        self.done: set[str] = set()
        self._tries: dict[str, _Tries] = {}
        self._retries: set[str] = set()
        self._damaged: set[int] = set()  # where such lines start
        header = {"journal": 1, **settings}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        try:
            claim(
                self._file,
                f"{path.parent}: another process is detecting into this folder; wait for its end or stop it, or give "
                f"another --out",
            )
            whole = self._read_done(header)
        except InputError:
            self._file.close()
            raise
        self._file.truncate(whole)
        self._size = whole
        self._synced_at = time.monotonic()
        if not whole:
            self._write(_to_line(header))

    def _read_done(self, header: Mapping[str, object]) -> int:
        """Compares the settings and collects what is done and what failed, one line in memory at a time.

        The image of a damaged line in the middle is looked at again; what follows that line is kept.

        Returns:
            Bytes up to the end of the last line that no kill or power cut left cut off or damaged; 0 if the first is.
        """
        with self.path.open("rb") as file:
            first = file.readline()
            if not first.endswith(b"\n"):
                return 0
            if (record := _parse(first)) != header:
                found = "a first line that is damaged" if record is None else _differences(record, header)
                raise InputError(f"{self.path}: was written with {found}; give another --out")
            whole = start = len(first)
            for line in file:
                record = _parse(line)
                if record is None or not _is_entry(record):
                    self._damaged.add(start)
                else:
                    self._note(record["file_name"], record.get("error"), start=start)
                    whole = start + len(line)
                start += len(line)
            self._damaged = {place for place in self._damaged if place < whole}  # the others are cut off
            self._retries = {name for name, tries in self._tries.items() if tries.reason is not None}
        return whole

    def __iter__(self) -> Iterator[JournalEntry]:
        """The last entry of each image, at the place of its first, one at a time: resumes do not change the order."""
        with self.path.open("rb") as file, self.path.open("rb") as later:
            start = len(next(file, b""))
            for line in file:
                entry = None if start in self._damaged else decode_entry(line)
                tries = None if entry is None else self._tries.get(entry.file_name)
                if tries is not None and tries.first == start:
                    later.seek(tries.last)
                    yield decode_entry(later.readline())
                elif entry is not None and tries is None:
                    yield entry
                start += len(line)

    def append(self, entry: JournalEntry) -> None:
        """Adds an entry; it survives the end of this process at once, and a crash of the machine within seconds.

        A file that still cannot be read, for the same reason, is not written again.
        """
        known = self._tries.get(entry.file_name)
        if known is None or entry.error is None or known.reason != hash(entry.error):
            start = self._size
            self._write(encode_entry(entry))
            self._note(entry.file_name, entry.error, start=start)
        self._retries.discard(entry.file_name)

    def lacks(self, name: str) -> bool:
        """Whether an image is still to be looked at."""
        return name not in self.done or name in self._retries

    @property
    def num_settled(self) -> int:
        """How many images need no look any more."""
        return len(self.done) - len(self._retries)

    def _note(self, name: str, error: str | None, *, start: int) -> None:
        self.done.add(name)
        known = self._tries.get(name)
        if known is not None or error is not None:
            first = start if known is None else known.first
            self._tries[name] = _Tries(first, start, None if error is None else hash(error))

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()
        self._size += len(line)
        if time.monotonic() - self._synced_at > _SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced_at = time.monotonic()

    def close(self) -> None:
        """Flushes everything to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

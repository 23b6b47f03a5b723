"""Files that are complete or not there at all: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import get_ident
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a draft path that takes the place of ``path`` when the block ends without an error.

    The draft is flushed to disk before it is renamed, so a crash at any moment leaves the old file or the new one.
    An error inside the block removes the draft and leaves ``path`` as it was.

    Args:
        path: The file to write; its folder is made if it is missing.

    Yields:
        A path in the same folder; the block must create this file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    brief = f"{zlib.crc32(os.fsencode(path.name)):08x}"  # the name may already be as long as the file system allows
    draft = path.with_name(f".{brief}.{os.getpid()}.{get_ident()}.tmp")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Makes a folder and tries writing to it, before hours of work that could not be kept.

    Raises:
        OSError: If it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):
        pass


def write_json(path: Path, document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Writes strict JSON, whole or not at all; NaN is an error of ours."""
    text = json.dumps(document, indent=2, allow_nan=False)
    with atomic_path(path) as draft:
        draft.write_text(text + "\n", encoding="ascii", newline="\n")


def remove_drafts(folder: Path, *, older_than: float = 0.0) -> None:
    """Takes away what killed processes left half written in a folder and its subfolders.

    Args:
        folder: One that nobody else writes to at the moment: the draft of a living process would go too.
        older_than: Seconds without a change; if others may write, longer than a live process leaves its draft alone.
    """
    for draft in folder.rglob(".*.[0-9]*.[0-9]*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime >= older_than:
                draft.unlink()

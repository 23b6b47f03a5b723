"""Detection over a folder of any size: reading overlaps computing, memory stays constant, bad files are reported.

Legend: B images of a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from detection.data.remote import Location, read_location
from detection.errors import InputError
from detection.image_detector import ImageDetector
from detection.journal import Journal, JournalEntry
from detection.preprocess import Image

Item = TypeVar("Item")

BATCH = 4
"""Images that pass the network together; each takes a sixth less time than alone (docs/decisions.md, 41)."""

READ_AHEAD = 4
"""Images that are read while others are computed."""


def read_each(paths: Iterable[tuple[str, Location]]) -> Iterator[tuple[str, Image | InputError]]:
    """Reads images one after the other; a file that cannot be read gives its error instead."""
    for name, path in paths:
        yield name, read_or_fault(path)


def read_ahead(paths: Iterable[tuple[str, Location]]) -> Iterator[tuple[str, Image | InputError]]:
    """Reads images in a second thread, a few ahead; a file that cannot be read gives its error instead."""
    remaining = iter(paths)
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending: deque[tuple[str, Future[Image | InputError]]] = deque()
        pending.extend((name, pool.submit(read_or_fault, path)) for name, path in islice(remaining, READ_AHEAD))
        while pending:
            name, future = pending.popleft()
            result = future.result()
            pending.extend((n, pool.submit(read_or_fault, path)) for n, path in islice(remaining, 1))
            yield name, result


def read_or_fault(location: Location) -> Image | InputError:
    """An image, or why it cannot be read."""
    try:
        return read_location(location)
    except InputError as error:
        return error


def detect_folder(
    detector: ImageDetector,
    images: Iterable[tuple[str, Location]],
    journal: Journal,
    *,
    heard: Callable[[JournalEntry], None] | None = None,
) -> None:
    """Detects on every image that the journal does not hold yet, and writes the answers of each batch down at once.

    Which images share a batch follows from their places in the list alone, not from where an earlier run was stopped,
    so that a resumed run gives what an undisturbed one gives, to the last digit.

    Args:
        detector: The detector.
        images: Name and place of each image.
        journal: Where the answers go.
        heard: Called after each image, for progress.
    """
    left = [batch for batch in _batched(images) if any(journal.lacks(name) for name, _ in batch)]
    # On a CPU the cores are busy computing, and a second thread would only be in their way.
    read = read_each if detector.device.type == "cpu" else read_ahead
    for batch in _batched(read(chain.from_iterable(left))):
        for entry in _answer(detector, batch):
            if journal.lacks(entry.file_name):
                journal.append(entry)
                if heard is not None:
                    heard(entry)


def answer_file(detector: ImageDetector, name: str, location: Location) -> JournalEntry:
    """What is to be written down of one image."""
    (entry,) = _answer(detector, [(name, read_or_fault(location))])
    return entry


def _batched(items: Iterable[Item]) -> Iterator[list[Item]]:
    """In order, ``BATCH`` at a time; the last ones may be fewer."""
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _answer(detector: ImageDetector, batch: Sequence[tuple[str, Image | InputError]]) -> list[JournalEntry]:
    found = iter(detector.detect_images([image for _, image in batch if not isinstance(image, InputError)]))
    return [
        JournalEntry(name, None, str(image)) if isinstance(image, InputError) else JournalEntry(name, next(found))
        for name, image in batch
    ]

"""Detection over a folder of any size, or a video: all cores are busy, memory stays constant, bad files are reported.

Legend: B images of a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain, islice
from math import prod
from pathlib import Path
from typing import TypeVar

import torch

from detection.data.image import read_image_header
from detection.data.remote import Location, read_location
from detection.data.video import frame_name, read_frames
from detection.errors import InputError
from detection.image_detector import ImageDetector
from detection.journal import Journal, JournalEntry
from detection.memory import is_short_of_memory
from detection.preprocess import Image
from detection.side_by_side import CPU, Room, count_lanes, side_by_side
from detection.structures import Detections

Item = TypeVar("Item")

Batch = Sequence[tuple[str, Image | InputError]]
"""Name and pixels of each image, or why it cannot be read."""

BATCH = 4
"""Images that pass the network together; each takes a sixth less time than alone (docs/decisions.md, 41)."""

READ_AHEAD = 4
"""Images that are read while others are computed."""

PIXELS_OF_LANE = 100_000_000
"""Pixels of a batch for which there is room side by side, 0.3 gigabytes: four photographs of 24 million."""


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


def count_batch_lanes(num_images: int, device: torch.device = CPU) -> int:
    """How many batches of a folder of so many images are looked at side by side; 1 at least."""
    return max(1, min(count_lanes(device), -(-num_images // BATCH)))


def detect_folder(
    detector: ImageDetector,
    images: Iterable[tuple[str, Location]],
    journal: Journal,
    *,
    heard: Callable[[JournalEntry], None] | None = None,
) -> None:
    """Detects on every image that the journal does not hold yet, and writes the answers of each batch down at its turn.

    Which images share a batch, and how many batches go side by side, follows from the list alone, not from where an
    earlier run was stopped, so that a resumed run gives what an undisturbed one gives, to the last digit.

    Args:
        detector: The detector.
        images: Name and place of each image.
        journal: Where the answers go.
        heard: Called after each image, for progress.
    """
    images = list(images)
    left = [batch for batch in _batched(images) if any(journal.lacks(name) for name, _ in batch)]
    lanes = count_batch_lanes(len(images), detector.device)
    if detector.device.type == "cpu":
        room = Room(lanes * PIXELS_OF_LANE)

        def work(batch: Sequence[tuple[str, Location]]) -> list[JournalEntry]:
            with room.taken(count_pixels([place for _, place in batch]) if lanes > 1 else 0):
                return _answer(detector, [(name, read_or_fault(place)) for name, place in batch])

        # What waits are results, which are small: a batch of large images need not stop the others.
        with closing(side_by_side(work, left, lanes=lanes, waiting=8 * lanes, leaving=room.close)) as answers:
            _note(answers, journal, heard)
    else:
        read = _batched(read_ahead(chain.from_iterable(left)))
        _note((_answer(detector, batch) for batch in read), journal, heard)


def detect_video(
    detector: ImageDetector, path: Path, journal: Journal, *, heard: Callable[[JournalEntry], None] | None = None
) -> None:
    """The same for the frames of a video, up to the first that cannot be decoded; arguments as there."""

    def is_wanted(number: int) -> bool:
        first = number - number % BATCH
        return any(journal.lacks(frame_name(path, each)) for each in range(first, first + BATCH))

    # The last batch may never be full, and then looks as if it lacked frames.
    frames = _batched(read_frames(path, wanted=is_wanted))
    left = (batch for batch in frames if any(journal.lacks(name) for name, _ in batch))
    lanes = count_lanes(detector.device)
    with closing(side_by_side(lambda batch: _answer(detector, batch), left, lanes=lanes)) as answers:
        _note(answers, journal, heard)


def _note(
    answers: Iterable[Sequence[JournalEntry]], journal: Journal, heard: Callable[[JournalEntry], None] | None
) -> None:
    """Writes down what the journal lacks."""
    for entry in chain.from_iterable(answers):
        if journal.lacks(entry.file_name):
            journal.append(entry)
            if heard is not None:
                heard(entry)


def count_pixels(places: Iterable[Location]) -> int:
    """Pixels of the images of this machine's disk, by their headers; one that cannot be read has none."""
    return sum(_pixels_of(place) for place in places if isinstance(place, Path))


def _pixels_of(path: Path) -> int:
    try:
        return prod(read_image_header(path).stored_size_hw)
    except InputError:
        return 0


def answer_file(detector: ImageDetector, name: str, location: Location) -> JournalEntry:
    """What is to be written down of one image."""
    (entry,) = _answer(detector, [(name, read_or_fault(location))])
    return entry


def _batched(items: Iterable[Item]) -> Iterator[list[Item]]:
    """In order, ``BATCH`` at a time; the last ones may be fewer."""
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _answer(detector: ImageDetector, batch: Batch) -> list[JournalEntry]:
    read = {name: image for name, image in batch if not isinstance(image, InputError)}
    faults = {name: str(image) for name, image in batch if isinstance(image, InputError)}
    answers = _detect_if_it_fits(detector, list(read.values()))
    if answers is None and len(read) > 1:
        return [entry for each in batch for entry in _answer(detector, [each])]
    if answers is None:
        ((name, image),) = read.items()
        faults[name] = f"{image.shape[1]}x{image.shape[0]} pixels do not fit the memory; make it smaller, or free some"
    found = dict(zip(read, answers or (), strict=answers is not None))
    return [JournalEntry(name, found.get(name), faults.get(name)) for name, _ in batch]


def _detect_if_it_fits(detector: ImageDetector, images: list[Image]) -> list[Detections] | None:
    """The answers, or None if the memory is too small; then what the attempt had taken is free again."""
    try:
        return detector.detect_images(images)
    except (MemoryError, RuntimeError) as error:  # an error keeps all that its frames hold, as long as it is handled
        if not is_short_of_memory(error):
            raise
    return None

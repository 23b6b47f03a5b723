"""Detection over a folder of any size: reading overlaps computing, memory stays constant, bad files are told.

Legend: B images of a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from detection.data.remote import Location, read_location
from detection.errors import InputError
from detection.image_detector import ImageDetector
from detection.journal import Journal, JournalEntry
from detection.preprocess import Image

READ_AHEAD = 4
"""Images that are read while others are computed."""


def read_each(paths: Iterable[tuple[str, Location]]) -> Iterator[tuple[str, Image | InputError]]:
    """Reads images one after the other; a file that cannot be read gives its error instead."""
    for name, path in paths:
        yield name, _read(path)


def read_ahead(paths: Iterable[tuple[str, Location]]) -> Iterator[tuple[str, Image | InputError]]:
    """Reads images in a second thread, a few ahead; a file that cannot be read gives its error instead."""
    remaining = iter(paths)
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending: deque[tuple[str, Future[Image | InputError]]] = deque()
        pending.extend((name, pool.submit(_read, path)) for name, path in islice(remaining, READ_AHEAD))
        while pending:
            name, future = pending.popleft()
            result = future.result()
            pending.extend((n, pool.submit(_read, path)) for n, path in islice(remaining, 1))
            yield name, result


def _read(location: Location) -> Image | InputError:
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
    """Detects on every image that the journal does not hold yet, one at a time, and writes each down at once.

    Args:
        detector: The detector.
        images: Name and place of each image.
        journal: Where the answers go.
        heard: Called after each image, for progress.
    """
    left = [(name, path) for name, path in images if name not in journal.done]
    # On a CPU the cores are busy computing, and a second thread would only be in their way.
    read = read_each if detector.device.type == "cpu" else read_ahead
    for name, image in read(left):
        entry = _answer(detector, name, image)
        journal.append(entry)
        if heard is not None:
            heard(entry)


def answer_file(detector: ImageDetector, name: str, location: Location) -> JournalEntry:
    """What is to be written down of one image."""
    return _answer(detector, name, _read(location))


def _answer(detector: ImageDetector, name: str, image: Image | InputError) -> JournalEntry:
    if isinstance(image, InputError):
        return JournalEntry(name, None, str(image))
    return JournalEntry(name, detector.detect_images([image])[0])

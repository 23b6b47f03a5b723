"""What ``multibox detect`` looks at: image files, or the frames of a video; each is detected once, by a journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from detection.cluster import detect_on_cluster
from detection.data.remote import Location, is_uri, list_uri
from detection.data.source import list_source, searched_folder
from detection.data.video import count_frames, frame_name, is_video, missing_frames, read_frames
from detection.errors import InputError
from detection.folder import count_batch_lanes, detect_folder, detect_video, read_or_fault
from detection.image_detector import ImageDetector
from detection.journal import Journal, JournalEntry
from detection.preprocess import Image
from detection.side_by_side import count_lanes
from detection.structures import Detections

Heard = Callable[[JournalEntry], None]
"""Called after each image, for progress."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files: name -> where it lies."""

    images: Mapping[str, Location]

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.images)

    @property
    def lanes(self) -> int:
        """How many threads will ask a detector at once on this machine's CPU."""
        return count_batch_lanes(self.total)

    def detect(self, detector: ImageDetector, journal: Journal, heard: Heard) -> None:
        """Detects on every image that the journal does not hold yet."""
        detect_folder(detector, self.images.items(), journal, heard=heard)

    def detect_on_cluster(
        self, make: Callable[[], ImageDetector], journal: Journal, heard: Heard, *, address: str, device: str
    ) -> None:
        """The same on a cluster; see ``detection.cluster``."""
        detect_on_cluster(make, list(self.images.items()), journal, address=address, device=device, heard=heard)

    def errors(self, journal: Journal) -> list[dict[str, str]]:
        """Name and fault of each image that could not be read; those that were taken away since are no faults."""
        return [
            {"file_name": entry.file_name, "error": entry.error}
            for entry in journal
            if entry.error is not None and entry.file_name in self.images
        ]

    def drawable(self, journal: Journal) -> list[str]:
        """Names of the images that ``read`` gives; an earlier sitting may have seen some that are gone."""
        return [entry.file_name for entry in journal if entry.detections is not None and entry.file_name in self.images]

    def read(self, journal: Journal) -> Iterator[tuple[Detections, Image | InputError]]:
        """What was found in each of ``drawable``, and the image, or why it cannot be read any more."""
        for entry in journal:
            if entry.detections is not None and entry.file_name in self.images:
                yield entry.detections, read_or_fault(self.images[entry.file_name])

    def check_pictures(self, folder: Path, source: str) -> None:
        """Makes sure that pictures drawn into a folder overwrite no image, and that no later run detects on them.

        Raises:
            InputError: If images of the source lie there, or it lies among them.
        """
        pictures = folder.resolve()  # links followed: it may be another name of a folder of photographs
        listed_from = None if is_uri(source) else searched_folder(Path(source))
        among = listed_from is not None and pictures.is_relative_to(listed_from.resolve())
        paths = [place for place in self.images.values() if isinstance(place, Path)]
        places = {path.parent for path in paths} | {path for path in paths if path.is_symlink()}
        if among or any(place.resolve().is_relative_to(pictures) for place in places):
            raise InputError(
                f"--out {folder.parent}: the pictures in {folder} would lie among the images of {source}; give "
                f"another --out"
            )


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a video.

    Attributes:
        path: The video file.
        total: How many frames it says it has.
    """

    path: Path
    total: int

    @property
    def lanes(self) -> int:
        """How many threads will ask a detector at once on this machine's CPU."""
        return count_lanes()

    def detect(self, detector: ImageDetector, journal: Journal, heard: Heard) -> None:
        """Detects on every frame that the journal does not hold yet, up to the first that cannot be decoded."""
        detect_video(detector, self.path, journal, heard=heard)

    def detect_on_cluster(
        self, make: Callable[[], ImageDetector], journal: Journal, heard: Heard, *, address: str, device: str
    ) -> NoReturn:
        """A video is read from its beginning to its end, by one process."""
        raise InputError(f"--ray {address}: {self.path} is a video, which one process reads; leave it out")

    def errors(self, journal: Journal) -> list[dict[str, str]]:
        """The fault of the video itself, if it breaks off, and those of frames that could not be looked at."""
        fault = missing_frames(self.path, self.total, len(journal.done))
        broken = [] if fault is None else [{"file_name": self.path.name, "error": fault}]
        faulty = [entry for entry in journal if entry.error is not None]
        return [*broken, *({"file_name": entry.file_name, "error": entry.error or ""} for entry in faulty)]

    def drawable(self, journal: Journal) -> list[str]:
        """Names of the frames that ``read`` gives."""
        found = {entry.file_name for entry in journal if entry.detections is not None}
        names = (frame_name(self.path, number) for number in range(len(journal.done)))
        return [name for name in names if name in found]

    def read(self, journal: Journal) -> Iterator[tuple[Detections, Image | InputError]]:
        """What was found in each frame, and the frame, in their order."""
        entries, ahead = iter(journal), dict[str, Detections | None]()
        for name, frame in read_frames(self.path):
            while name not in ahead and (entry := next(entries, None)):  # one that was done again stands at the end
                ahead[entry.file_name] = entry.detections
            if (detections := ahead.pop(name, None)) is not None:
                yield detections, frame

    def check_pictures(self, folder: Path, source: str) -> None:
        """Nothing to look for: pictures are no video."""


def open_source(text: str) -> ImageFiles | VideoFrames:
    """Finds out what is named: an image, a folder, a pattern, a list of images, a video, or a URI of other storage.

    Raises:
        InputError: If it is no source of images, or a video of which nothing can be decoded.
    """
    if is_uri(text):
        return ImageFiles(dict(list_uri(text)))
    path = Path(text)
    if is_video(path):
        return VideoFrames(path, count_frames(path))
    return ImageFiles(dict(list_source(path)))

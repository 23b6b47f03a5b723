"""Images decoded once into one packed array on disk, so that decoding never bounds the training.

Files of a pack: ``pixels.bin`` (all pixels, one image after the other) and ``index.npz`` (where each image begins, its
size and label), both read by memory map: a data set larger than the memory still trains.
Legend: N images, h/w size of one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detection.atomic import atomic_path, remove_drafts
from detection.classification.listing import Archive, Listing, Part, list_part, open_archive
from detection.data.image import decode_image
from detection.errors import InputError
from detection.preprocess import Image, resize

_INDEX, _PIXELS = "index.npz", "pixels.bin"

MAX_ASPECT = 50
"""Greatest ratio of longer to shorter side; images beyond it are left out."""


@dataclass(frozen=True)
class PackedImages:
    """The images of one part, decoded.

    Attributes:
        pixels: (bytes,) uint8, images in RGB one after the other.
        starts: (N,) int64, where each begins.
        sizes_hw: (N, 2) int64.
        labels: (N,) int64.
        names: N files.
        class_names: C names.
        unreadable: File -> reason, of the images that were left out.
        home: Folder of the pack.
    """

    pixels: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    sizes_hw: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    unreadable: Mapping[str, str]
    home: Path

    def __reduce__(self) -> tuple[Callable[[Path], PackedImages], tuple[Path]]:
        """A loader's process opens the pack itself, instead of being sent all pixels."""
        return _read, (self.home,)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image:
        """An image, (h, w, 3) uint8 RGB; read-only."""
        height, width = self.sizes_hw[index]
        start = self.starts[index]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)


def pack_part(
    data: Path,
    part: Part,
    folder: Path,
    *,
    shorter_side: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PackedImages:
    """Packs a part of a data set into ``folder``, or takes the pack that is there already.

    Args:
        data: Zip or folder.
        part: Which part.
        folder: Where packs are kept; each has its own sub-folder, named after what it holds.
        shorter_side: Larger images are scaled down to this shorter side, in pixels.
        progress: Called after each image with images done and to do.

    Raises:
        InputError: If the data cannot be read, or not one of its images.
    """
    with open_archive(data) as archive:
        try:
            listing = list_part(archive, part)
        except InputError as error:
            raise InputError(f"{data}: {error}") from error
        home = folder / f"{part}-{_fingerprint(archive, listing, shorter_side)}"
        if not (home / _INDEX).is_file():
            _write(home, archive, listing, shorter_side, progress)
    packed = _read(home)
    if not len(packed):
        reason = next(iter(packed.unreadable.values()), "it is empty")
        raise InputError(f"{data}: not one image of the part {part!r} could be read; the first: {reason}")
    return packed


def _fingerprint(archive: Archive, listing: Listing, shorter_side: int) -> str:
    """Tells packs apart: files with their sizes and times, labels, and what is kept of an image."""
    stamps = [archive.stamp(name) for name in listing.names]
    content = json.dumps([listing.names, listing.labels, stamps, shorter_side])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


_ABANDONED = 3600.0
"""Seconds after which a pack that does not grow belongs to nobody: several runs may share a folder of them."""


def _write(
    home: Path, archive: Archive, listing: Listing, shorter_side: int, progress: Callable[[int, int], None]
) -> None:
    """Decodes all images; the index is written last, so a pack with an index is whole."""
    sizes: list[tuple[int, int]] = []
    rows: list[int] = []
    unreadable: dict[str, str] = {}
    remove_drafts(home, older_than=_ABANDONED)
    with atomic_path(home / _PIXELS) as draft, draft.open("wb") as file:
        for row, name in enumerate(listing.names):
            try:
                image = _shrink(decode_image(archive.read(name), name), shorter_side)
                _refuse_strip(image, name)
            except InputError as error:
                unreadable[name] = str(error)
            else:
                file.write(np.ascontiguousarray(image).tobytes())
                sizes.append((image.shape[0], image.shape[1]))
                rows.append(row)
            progress(row + 1, len(listing.names))
    with atomic_path(home / _INDEX) as draft, draft.open("wb") as file:
        np.savez(
            file,
            sizes_hw=np.array(sizes, dtype=np.int64).reshape(-1, 2),
            labels=np.array([listing.labels[row] for row in rows], dtype=np.int64),
            text=np.array(json.dumps([[listing.names[row] for row in rows], listing.class_names, unreadable])),
        )


def _refuse_strip(image: Image, name: str) -> None:
    """A strip scaled until its shorter side fits a network would not fit the memory."""
    height, width = image.shape[:2]
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(f"{name}: {width}x{height} pixels, a strip; cut it so that no side is over {MAX_ASPECT} times")


def _read(home: Path) -> PackedImages:
    with np.load(home / _INDEX, allow_pickle=False) as index:
        sizes_hw, labels, text = index["sizes_hw"], index["labels"], str(index["text"])
    names, class_names, unreadable = json.loads(text)
    ends = np.cumsum(sizes_hw.prod(axis=1) * 3)
    empty = np.zeros(0, dtype=np.uint8)
    pixels = np.memmap(home / _PIXELS, dtype=np.uint8, mode="r") if len(labels) else empty
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(labels) else ends
    return PackedImages(pixels, starts, sizes_hw, labels, tuple(names), tuple(class_names), unreadable, home)


def _shrink(image: Image, shorter_side: int) -> Image:
    """Scales an image down to a shorter side; smaller ones stay."""
    height, width = image.shape[:2]
    scale = shorter_side / min(height, width)
    if scale >= 1:
        return image
    return resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def unreadable_lines(packs: Sequence[PackedImages]) -> list[str]:
    """What to tell about images that were left out; empty if there are none."""
    reasons = [reason for pack in packs for reason in pack.unreadable.values()]
    return [f"left out: {reason}" for reason in reasons] + ([f"{len(reasons)} images left out"] if reasons else [])

"""Proposals that are made of an image's pixels, outside the network, and kept on disk.

Legend: P proposals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from detection.atomic import atomic_path
from detection.data.image import read_image
from detection.errors import InputError
from detection.preprocess import Image
from detection.workers import start_worker
from proposals.selective_search import SelectiveSearchSettings, selective_search
from proposals.structures import Proposals

CACHE_VERSION = 2
"""Goes up when the same image and settings give other boxes."""

RegionSource = Callable[[Image], Proposals]
"""(H, W, 3) uint8 RGB -> proposals in its pixels, best first."""


class SelectiveSearch:
    """Selective search with a cache on disk, keyed by the image's pixels and the settings.

    Several processes may share a cache: a file appears whole or not at all, and two that make the same one write the
    same bytes. A file that cannot be read is made anew.

    Args:
        settings: How to search.
        max_boxes: P at most.
        cache: Folder; None keeps nothing.
    """

    def __init__(self, settings: SelectiveSearchSettings, *, max_boxes: int, cache: Path | None = None) -> None:
        self.settings = settings
        self.max_boxes = max_boxes
        self.cache = cache
        self._key = json.dumps([CACHE_VERSION, asdict(settings)], sort_keys=True).encode()

    def __call__(self, image: Image) -> Proposals:
        """The best boxes of an image."""
        size_hw = image.shape[0], image.shape[1]
        path = None if self.cache is None else self.cache / self._name(image)
        found = None if path is None else _read(path, size_hw)
        if found is None:
            found = selective_search(image, self.settings)
            if path is not None:
                _write(path, found)
        return found.best(self.max_boxes)

    def _name(self, image: Image) -> str:
        digest = hashlib.sha256(self._key + str(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        return f"{digest.hexdigest()[:2]}/{digest.hexdigest()[2:32]}.npz"


class _Searches(Dataset[str]):
    """Searches one image at a time; a file that cannot be read is reported when it is learnt from, not here.

    An item is empty, or says why the proposals could not be kept: an exception would bring a traceback along.
    """

    def __init__(self, regions: RegionSource, paths: Sequence[Path]) -> None:
        self.regions = regions
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> str:
        try:
            with suppress(InputError):
                self.regions(read_image(self.paths[row]))
        except OSError as error:
            return f"{error.filename or self.paths[row]}: the proposals could not be kept ({error.strerror or error})"
        return ""


def search_all(regions: RegionSource, paths: Sequence[Path], *, workers: int) -> Iterator[int]:
    """Makes the proposals of many images, so that a source with a cache has them at hand.

    Args:
        regions: The source.
        paths: The images.
        workers: Processes that search; 0 searches in this one.

    Yields:
        The row of each image that is done, in order.

    Raises:
        InputError: If proposals cannot be kept, for example on a full disk.
    """
    searches = _Searches(regions, paths)
    loader = DataLoader(searches, batch_size=None, num_workers=workers, worker_init_fn=start_worker)
    for row, fault in enumerate(loader):
        if fault:
            raise InputError(f"{fault}; make room there and run the command again with --resume")
        yield row


def _write(path: Path, proposals: Proposals) -> None:
    with atomic_path(path) as draft, draft.open("wb") as file:
        np.savez(file, boxes=proposals.boxes.numpy(), scores=proposals.scores.numpy())


def _read(path: Path, size_hw: tuple[int, int]) -> Proposals | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Proposals(torch.from_numpy(arrays["boxes"]), torch.from_numpy(arrays["scores"]), size_hw)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # not there, or cut off by a full disk
        return None

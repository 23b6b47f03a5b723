"""Decoded images in memory, with the proposals that another method made of them. Legend: P proposals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.preprocess import Image, resize, resized_size
from detection.regions import RegionSource


class CachedImage(NamedTuple):
    """An image (h, w, 3) uint8 RGB, scaled down, and its given proposals (P, 4) xyxy in pixels of the original."""

    image: Image
    given: npt.NDArray[np.float32] | None

    @property
    def nbytes(self) -> int:
        """Memory that both take."""
        return self.image.nbytes + (0 if self.given is None else self.given.nbytes)


class ImageCache:
    """Keeps decoded images in memory, scaled down to what training needs, until the limit is reached.

    Args:
        longest_side: Images are scaled down to this longer side before they are kept.
        max_bytes: Limit; images beyond it are decoded anew each time.
        regions: Gives proposals of another method than the network's own; None gives none.
    """

    def __init__(self, longest_side: int, max_bytes: int, regions: RegionSource | None = None) -> None:
        self.longest_side = longest_side
        self.free_bytes = max_bytes
        self.regions = regions
        self._entries: dict[int, CachedImage] = {}

    def get(self, index: int, record: ImageRecord) -> CachedImage:
        """The image of ``record``, at most ``longest_side`` long, and its given proposals."""
        if (entry := self._entries.get(index)) is not None:
            return entry
        image = read_image(record.path)
        given = None if self.regions is None else self.regions(image).boxes.numpy()
        if max(image.shape[:2]) > self.longest_side:
            image = resize(image, resized_size((image.shape[0], image.shape[1]), self.longest_side))
        entry = CachedImage(image, given)
        if entry.nbytes <= self.free_bytes:
            self.free_bytes -= entry.nbytes
            self._entries[index] = entry
        return entry

"""Large images in tiles: small objects are seen at full size, large ones on the image as a whole.

Legend: V views (the tiles and the whole image), H/W size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from detection.image_detector import ImageDetector
from detection.preprocess import Image
from detection.structures import Detections
from detection.tile_merging import Region, View, merge_views

OVERLAP = 0.2
"""Least share of its side that a tile has in common with the next: an object of up to this size is whole in a tile."""

TILES_AT_ONCE = 8
"""Tiles of a batch; memory does not grow with the image."""


class TiledDetector:
    """Shows another detector every image larger than a tile in parts, and puts its answers together.

    Besides the tiles it shows the whole image, for objects larger than a tile. What is found twice, or in parts, is
    counted once (``merge_views``). There is no limit to the detections of an image beyond that of each tile. Smaller
    images go to the other detector as they are.

    Args:
        inner: The other detector.
        tile: Side of a tile in pixels of the image. A side of the image that is shorter is not cut.
        overlap: Least share of a tile's side that two neighbours have in common, in [0, 1).

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, inner: ImageDetector, *, tile: int, overlap: float = OVERLAP) -> None:
        if tile < 1 or not 0 <= overlap < 1:
            raise ValueError(f"expected a tile of 1 pixel or more and an overlap in [0, 1), got {tile} and {overlap}")
        self.inner = inner
        self.tile = tile
        self.overlap = overlap
        self.class_names = inner.class_names
        self.category_ids = inner.category_ids
        self.device = inner.device

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        """(H, W, 3) uint8 RGB images of any sizes -> detections in the pixels of each."""
        small = [row for row, image in enumerate(images) if max(image.shape[:2]) <= self.tile]
        found = dict(zip(small, self.inner.detect_images([images[row] for row in small]), strict=True))
        return [found[row] if row in found else self._detect_large(image) for row, image in enumerate(images)]

    def _detect_large(self, image: Image) -> Detections:
        size_hw = image.shape[0], image.shape[1]
        # The whole image goes alone: it has another shape, and a batch of its own bounds the memory.
        views = [View((0, 0, size_hw[1], size_hw[0]), self.inner.detect_images([image])[0])]
        regions = tile_regions(size_hw, self.tile, self.overlap)
        for start in range(0, len(regions), TILES_AT_ONCE):
            batch = regions[start : start + TILES_AT_ONCE]
            parts = [image[top:bottom, left:right] for left, top, right, bottom in batch]
            views.extend(map(View, batch, self.inner.detect_images(parts)))
        return merge_views(views, size_hw)


def tile_regions(size_hw: tuple[int, int], tile: int, overlap: float = OVERLAP) -> list[Region]:
    """The tiles of an image, row by row; together they cover it.

    Args:
        size_hw: Height and width of the image.
        tile: Side of a tile; a shorter side of the image is not cut.
        overlap: Least share of a tile's side that two neighbours have in common.

    Returns:
        xyxy in whole pixels, all of the same size.
    """
    height, width = size_hw
    return [
        (left, top, min(left + tile, width), min(top + tile, height))
        for top in tile_starts(height, tile, overlap)
        for left in tile_starts(width, tile, overlap)
    ]


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where the fewest tiles start that cover ``length`` pixels and overlap enough, spread evenly."""
    if length <= tile:
        return [0]
    stride = max(1, int(tile * (1 - overlap)))
    gaps = ceil((length - tile) / stride)
    return [gap * (length - tile) // gaps for gap in range(gaps + 1)]

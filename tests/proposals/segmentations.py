"""Pictures and segmentations for the tests of selective search."""

from __future__ import annotations

import cv2
import numpy as np

from proposals.selective_search.colour import Image
from proposals.selective_search.regions import Ints
from tests.builders import random_pixels


def random_labels(size_hw: tuple[int, int], num_labels: int, seed: int) -> Ints:
    """(H, W) in 0..N-1: each pixel belongs to the nearest of N random pixels."""
    height, width = size_hw
    sites = np.random.default_rng(seed).choice(height * width, num_labels, replace=False)
    rows, columns = np.indices(size_hw)
    distances = (rows[..., None] - sites // width) ** 2 + (columns[..., None] - sites % width) ** 2
    return distances.argmin(axis=2).astype(np.int64)


def smooth_pixels(size_hw: tuple[int, int], seed: int = 0) -> Image:
    """(H, W, 3) soft blobs of colour of some ten pixels, with a little noise."""
    height, width = size_hw
    coarse = random_pixels((height // 10 + 1, width // 10 + 1), seed)
    blobs = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float64)
    noise = np.random.default_rng(seed).normal(0, 3, blobs.shape)
    return np.clip(blobs + noise, 0, 255).astype(np.uint8)

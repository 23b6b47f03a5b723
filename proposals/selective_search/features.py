"""What each pixel adds to the histograms of its region: bin numbers of colour and texture.

Both follow Uijlings et al. 2013, section 3.2, and depend on the colour space only, not on the segmentation.
Legend: S planes of the colour space, H/W.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from proposals.selective_search.colour import Image

Floats = npt.NDArray[np.float32]

NUM_COLOUR_BINS = 25
NUM_TEXTURE_BINS = 10
NUM_DIRECTIONS = 8

_COLOUR_BIN = (np.arange(256) * NUM_COLOUR_BINS // 256).astype(np.uint8)

_RADIUS = 4  # of the kernels; beyond four deviations a Gaussian is nothing
_LARGEST_SLOPE = 255 / math.sqrt(2 * math.pi)
"""Response to the sharpest edge, black to white, of the derivative of a Gaussian with deviation 1."""


def colour_bins(planes: Image) -> Image:
    """Bin of each colour: (H, W, S) -> (S, H, W) uint8 in 0..24, bins of equal width over 0..255."""
    return _COLOUR_BIN[np.ascontiguousarray(np.moveaxis(planes, 2, 0))]


def texture_bins(planes: Image) -> Image:
    """Bin of each derivative of a Gaussian (deviation 1) in eight directions, 45 degrees apart.

    Each direction looks one way: what falls towards it counts for the opposite one and has bin 0 here. Bins have
    equal width from 0 to the response of the sharpest edge; a fixed range keeps pictures comparable, as in the
    released code. That code looks at the first plane three times, with deviation 0.8; here it is as the paper says.

    Args:
        planes: (H, W, S) uint8.

    Returns:
        (8 * S, H, W) uint8 in 0..9, first the S planes of direction 0 (to the right), then those of 45 degrees (to
        the right and down), and so on.
    """
    offsets = np.arange(-_RADIUS, _RADIUS + 1, dtype=np.float32)
    smooth = np.exp(-(offsets**2) / 2)
    smooth /= smooth.sum()
    slope = offsets * smooth * (NUM_TEXTURE_BINS / _LARGEST_SLOPE)  # the unit of the response is a bin
    across, down = _filter(planes, slope, smooth), _filter(planes, smooth, slope)
    bins = np.empty((NUM_DIRECTIONS, *across.shape), dtype=np.uint8)
    for direction in range(NUM_DIRECTIONS):
        angle = direction * 2 * math.pi / NUM_DIRECTIONS
        response = across * math.cos(angle) + down * math.sin(angle)
        bins[direction] = np.clip(response, 0, NUM_TEXTURE_BINS - 1, out=response)
    return bins.reshape(-1, *across.shape[1:])


def _filter(planes: Image, across: Floats, down: Floats) -> Floats:
    """Correlates with a separable kernel, edge pixels repeated outside: (H, W, S) -> (S, H, W) float32."""
    pixels = planes.astype(np.float32)
    filtered = cv2.sepFilter2D(pixels, -1, across, down, borderType=cv2.BORDER_REPLICATE)
    return np.moveaxis(filtered.reshape(planes.shape), 2, 0).astype(np.float32, order="C")

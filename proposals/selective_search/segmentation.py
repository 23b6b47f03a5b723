"""The over-segmentation that selective search starts from (Felzenszwalb & Huttenlocher 2004, IJCV 59(2):167-181)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from skimage.segmentation import felzenszwalb

from proposals.selective_search.colour import Image

SIGMA = 0.8
"""Of the Gaussian that smooths the picture first (the value of both papers)."""


def segment(planes: Image, k: float) -> npt.NDArray[np.int64]:
    """Parts a picture into connected segments of at least k pixels.

    scikit-image maps uint8 to [0, 1] and divides its ``scale`` by 255, so on uint8 planes ``scale`` is the paper's k
    for colours of 0..255: two segments join where an edge between them is weaker than Int(C) + k / |C|.

    Args:
        planes: (H, W, S) uint8, S 1 or 3.
        k: Preference for large segments. It is also the smallest size, as in the released selective search.

    Returns:
        (H, W) int64 labels 0..N-1, none of them empty, each connected through edges or corners of pixels. A picture
        with fewer than k pixels, or of one colour, is one segment.
    """
    # The released code repeats a single plane thrice, which makes every edge sqrt(3) stronger. The criterion is
    # linear in edges and k, so a smaller k says the same at a third of the work.
    scale = k if planes.shape[2] == 3 else k / math.sqrt(3)
    labels = felzenszwalb(planes, scale=scale, sigma=SIGMA, min_size=round(k), channel_axis=-1)
    return np.asarray(labels, dtype=np.int64)

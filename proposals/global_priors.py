"""Global priors: K whole boxes that stand for where objects of the training images lie (Erhan et al., 1312.2249).

Legend: N training boxes, K priors. ``*_norm`` boxes are xyxy in units of the image, see ``global_coder``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from proposals.priors import kmeans

_MAX_BOXES = 10_000
"""With more, a sample is clustered: k-means takes N * K distances a round (10 s for 10,000 and 200 on one core)."""


def regular_boxes(num_boxes: int) -> npt.NDArray[np.float64]:
    """Boxes for data that tell nothing: the image, then 2 x 2, 3 x 3, ... boxes in units of the image, (K, 4).

    The n x n boxes have sides of 2 / (n + 1), start every 1 / (n + 1), and fill the image, each half over the next.
    Of the last grid, which may be too large, boxes are taken at even intervals.
    """
    boxes = np.zeros((0, 4))
    cells = 0
    while len(boxes) < num_boxes:
        cells += 1
        left, top = np.meshgrid(np.arange(cells), np.arange(cells))
        grid = np.stack([left, top, left + 2, top + 2], axis=-1).reshape(-1, 4) / (cells + 1)
        wanted = min(len(grid), num_boxes - len(boxes))
        boxes = np.vstack([boxes, grid[np.linspace(0, len(grid) - 1, wanted).round().astype(int)]])
    return boxes


def fit_global_priors(boxes_norm: npt.NDArray[np.float32], *, num_priors: int, seed: int = 0) -> Tensor:
    """Clusters the training boxes by k-means on their four coordinates, the distance that the loss measures.

    Args:
        boxes_norm: (N, 4) xyxy in units of the image, with positive width and height; may be empty.
        num_priors: K.
        seed: Of the k-means++ start; the same seed and boxes give the same priors.

    Returns:
        (K, 4) float32 xyxy in units of the image, areas ascending. With at most K distinct boxes each is a prior, and
        ``regular_boxes`` are the rest; without boxes, they are all.
    """
    distinct = np.unique(boxes_norm.astype(np.float64), axis=0)
    if len(distinct) <= num_priors:
        priors = np.vstack([distinct, regular_boxes(num_priors - len(distinct))])
    else:
        rng = np.random.default_rng(seed)
        points = boxes_norm.astype(np.float64)
        if len(points) > _MAX_BOXES:
            points = rng.choice(points, _MAX_BOXES, replace=False)
        priors = kmeans(points, num_priors, rng)
    areas = (priors[:, 2:] - priors[:, :2]).prod(axis=1)
    return torch.from_numpy(priors[np.argsort(areas, kind="stable")].astype(np.float32))

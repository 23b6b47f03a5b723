"""Priors of MultiBox: sizes fitted to the training boxes, laid over the grids of the feature pyramid.

Erhan et al. (1312.2249) cluster the training boxes by k-means and let each cluster be a prior; Szegedy et al.
(1412.1441) lay priors over grids of several resolutions. Here the clusters give sizes, the grids give centres.
Legend: N training boxes, L pyramid levels, A priors per cell, K = sum over levels of A * H * W.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_MIN_BOXES = 2
_KMEANS_ROUNDS = 100


def fallback_sizes(strides: Sequence[int], priors_per_level: int) -> Tensor:
    """Sizes for data without boxes: squares spread geometrically from 4 to 8 strides of each level, (L, A, 2)."""
    factors = 4.0 * 2.0 ** (torch.arange(priors_per_level) / priors_per_level)
    return (torch.tensor(strides)[:, None] * factors)[..., None].repeat(1, 1, 2)


def fit_prior_sizes(
    sizes_wh: npt.NDArray[np.float32], *, strides: Sequence[int], priors_per_level: int, seed: int = 0
) -> Tensor:
    """Clusters box sizes by k-means on (log width, log height) and hands the smallest to the finest level.

    Args:
        sizes_wh: (N, 2) positive widths and heights of the training boxes, pixels of the network's input.
        strides: L strides of the pyramid, ascending.
        priors_per_level: A.
        seed: Of the k-means++ start; the same seed gives the same priors.

    Returns:
        (L, A, 2) float32 prior widths and heights in pixels, areas ascending. With fewer than L * A distinct
        boxes some priors repeat with a small spread; fewer than two boxes give squares of 4 to 8 strides.
    """
    if len(sizes_wh) < _MIN_BOXES:
        return fallback_sizes(strides, priors_per_level)
    num_priors = len(strides) * priors_per_level
    rng = np.random.default_rng(seed)
    # As many points as priors at least, and a little noise that parts equal ones: so every cluster has members, and no
    # two are alike.
    sizes_wh = np.tile(sizes_wh, (-(-num_priors // len(sizes_wh)), 1))
    points = np.log(sizes_wh.astype(np.float64)) + rng.normal(0.0, 0.02, sizes_wh.shape)
    centres = kmeans(points, num_priors, rng)
    ordered = np.exp(centres[np.argsort(centres.sum(axis=1), kind="stable")])
    return torch.from_numpy(ordered.astype(np.float32)).reshape(len(strides), priors_per_level, 2)


def kmeans(points: npt.NDArray[np.float64], num_clusters: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Lloyd's algorithm from a k-means++ start; a cluster that lost its members keeps its centre."""
    centres = points[rng.integers(len(points))][None]
    nearest = ((points - centres[0]) ** 2).sum(axis=1)  # squared distance of each point to its nearest centre
    while len(centres) < num_clusters:
        chances = nearest + 1e-12
        centres = np.vstack([centres, points[rng.choice(len(points), p=chances / chances.sum())]])
        nearest = np.minimum(nearest, ((points - centres[-1]) ** 2).sum(axis=1))
    for _ in range(_KMEANS_ROUNDS):
        owner = ((points[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        moved = centres.copy()
        for cluster in np.unique(owner):
            moved[cluster] = points[owner == cluster].mean(axis=0)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def lay_priors(prior_sizes: Tensor, *, strides: Sequence[int], input_size_hw: tuple[int, int]) -> Tensor:
    """Centres every prior size on every cell of its level's grid.

    Args:
        prior_sizes: (L, A, 2) widths and heights in pixels.
        strides: L strides.
        input_size_hw: Height and width of the network's input, multiples of the largest stride.

    Returns:
        (K, 4) float32 xyxy pixels of the input, by level, then row, column and prior: the order of the head's output.
        Equal arguments may give the same tensor again: it is not to be changed in place.
    """
    if any(isinstance(side, Tensor) for side in input_size_hw):  # traced: the graph must lay them itself
        return _lay(prior_sizes, strides, input_size_hw)
    sizes = tuple(tuple(tuple(wh) for wh in level) for level in prior_sizes.tolist())
    return _laid_before(sizes, tuple(strides), input_size_hw, prior_sizes.device, torch.is_inference_mode_enabled())


@lru_cache(maxsize=16)  # images of a folder have few shapes
def _laid_before(
    sizes: tuple[tuple[tuple[float, float], ...], ...],
    strides: tuple[int, ...],
    input_size_hw: tuple[int, int],
    device: torch.device,
    inference: bool,  # no training can use a tensor that was made in inference mode
) -> Tensor:
    return _lay(torch.tensor(sizes, dtype=torch.float32, device=device), strides, input_size_hw)


def _lay(prior_sizes: Tensor, strides: Sequence[int], input_size_hw: tuple[int, int]) -> Tensor:
    height, width = input_size_hw
    levels = []
    for sizes, stride in zip(prior_sizes, strides, strict=True):
        xs = (torch.arange(width // stride, device=sizes.device) + 0.5) * stride
        ys = (torch.arange(height // stride, device=sizes.device) + 0.5) * stride
        centres = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)[:, :, None]
        levels.append(torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1).reshape(-1, 4))
    return torch.cat(levels)

"""Selective search from picture to ranked boxes (Uijlings et al. 2013, section 3).

Legend: R regions of a hierarchy, P proposals, H/W.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
import torch

from proposals.selective_search.colour import Image, to_colour_space
from proposals.selective_search.features import colour_bins, texture_bins
from proposals.selective_search.grouping import group
from proposals.selective_search.regions import Ints, describe
from proposals.selective_search.segmentation import find_edges, segment
from proposals.selective_search.settings import SelectiveSearchSettings
from proposals.structures import Proposals

_TALLEST = 4
"""A picture to be scaled becomes at most so many widths high: a strip of a few pixels' width stays small."""


def selective_search(image: Image, settings: SelectiveSearchSettings) -> Proposals:
    """Boxes that are likely to hold an object of any kind, best first.

    Args:
        image: (H, W, 3) uint8 RGB.
        settings: Which strategies, and how boxes are filtered and ranked.

    Returns:
        P distinct boxes, edges in pixels of ``image``. The score of the i-th best, from 0, is 1 - i / P: it says
        the order and nothing else. The same image and settings give the same boxes. A picture of one colour gives
        one box, all of it; without pixels, or where every box is smaller than ``min_side``, P = 0.

    Raises:
        ValueError: If ``image`` is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must have shape (H, W, 3) and type uint8, got {image.shape} and {image.dtype}")
    height, width = image.shape[:2]
    if image.size == 0:
        return _to_proposals(np.empty((0, 4)), (height, width))
    searched = resize(image, settings.width)
    generator = np.random.default_rng(settings.seed)
    boxes = rank(find_hierarchies(searched, settings), settings.min_side, generator)
    scale_y, scale_x = height / searched.shape[0], width / searched.shape[1]
    return _to_proposals(boxes * [scale_x, scale_y, scale_x, scale_y], (height, width))


def resize(image: Image, width: int | None) -> Image:
    """Scales a picture to a width, unless that makes it very high; None leaves it. The result is contiguous."""
    if width is None:
        return np.ascontiguousarray(image)
    old_height, old_width = image.shape[:2]
    scale = min(width / old_width, _TALLEST * width / old_height)
    new_wh = max(1, round(old_width * scale)), max(1, round(old_height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), new_wh, interpolation=interpolation), dtype=np.uint8)


def find_hierarchies(image: Image, settings: SelectiveSearchSettings) -> Iterator[Ints]:
    """Boxes of the hierarchy of each strategy: (R, 4) xyxy half-open, from the bottom to the top.

    Strategies of one colour space share the graph of the picture and the bins of its pixels; those that differ only in
    the measure share segmentation and histograms as well.
    """
    for colour_space in settings.colour_spaces:
        planes = to_colour_space(image, colour_space)
        bins = colour_bins(planes), texture_bins(planes)
        edges = find_edges(planes)
        for k in settings.segment_scales:
            regions = describe(segment(edges, planes.shape[:2], k * settings.superpixel_scale), *bins)
            for measure in settings.measures:
                yield group(regions, measure).boxes


def rank(hierarchies: Iterable[Ints], min_side: int, generator: np.random.Generator) -> Ints:
    """Mixes the boxes of several hierarchies, high regions first but not only those (section 3.3).

    A box has the value log(1 + position) * random number in [0, 1), where position 1 is the top of its hierarchy; small
    values come first. Of equal boxes the best remains. Deviation: the paper's value is the position itself. Of 80
    hierarchies the first 2,000 boxes then are little but tops, and small objects have none (docs/proposals.md).

    Args:
        hierarchies: (R, 4) boxes each, from the bottom to the top; R may differ.
        min_side: Boxes with a shorter side are left out.
        generator: Of the random numbers; drawn for every box in turn.

    Returns:
        (P, 4) distinct boxes, best first.
    """
    boxes, values = [np.empty((0, 4), dtype=np.int64)], [np.empty(0)]
    for hierarchy in hierarchies:
        boxes.append(hierarchy)
        values.append(np.log1p(np.arange(len(hierarchy), 0, -1)) * generator.random(len(hierarchy)))
    ranked = np.concatenate(boxes)[np.argsort(np.concatenate(values), kind="stable")]
    ranked = ranked[(ranked[:, 2:] - ranked[:, :2] >= min_side).all(axis=1)]
    _, first_seen = np.unique(ranked, axis=0, return_index=True)
    return ranked[np.sort(first_seen)]


def _to_proposals(boxes: npt.NDArray[np.float64], image_size_hw: tuple[int, int]) -> Proposals:
    """Boxes (P, 4), best first, moved into the image and scored by their order."""
    height, width = image_size_hw
    inside = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
    scores = 1 - np.arange(len(boxes)) / max(1, len(boxes))
    return Proposals(torch.from_numpy(inside), torch.from_numpy(scores.astype(np.float32)), image_size_hw)

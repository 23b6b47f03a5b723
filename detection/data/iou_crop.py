"""SSD's random crop: a part of the image that keeps at least one object ("SSD", Liu et al. 2016, 1512.02325).

Torchvision chooses the part; its transform drops objects by their centres, so boxes are cut here, by the rule of
all views. Legend: N boxes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from detection.chance import Stream
from detection.data.scene import Scene, View, box_areas, cut
from detection.preprocess import PAD_COLOUR, resize

MIN_SCALE = 0.3
"""Least side of a crop, relative to the image's."""

OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Least IoU of the crop with an object, drawn at equal odds; 1 leaves the whole image. Torchvision's values."""

_MIN_SIDE = 8  # Pixels; torchvision divides by the crop's height, which may be 0 below 4.


def iou_crop(scene: Scene, *, probability: float, seed: int) -> Scene:
    """Draws whether a scene is cropped, and how.

    The crop is scaled up, keeping its aspect, until it fits into the size of the scene, and padded at the right and
    below, as every input is.

    Args:
        scene: What to crop; one without an object to learn, or of a few pixels, stays as it is.
        probability: Probability of a crop; some crops leave the whole image, as in SSD.
        seed: Seed of the view.

    Returns:
        A scene of the same size; one in which no object would be left to learn stays uncropped.
    """
    if probability == 0:  # the usual case, asked for every view
        return scene
    rng = np.random.default_rng((seed, Stream.CROP))
    objects = scene.boxes[scene.learnable]
    if rng.random() >= probability or not len(objects) or min(scene.size_hw) < _MIN_SIDE:
        return scene
    window = _draw_window(objects, scene.size_hw, seed=int(rng.integers(2**63)))
    if window is None:
        return scene
    cropped = scene.shown_in(_show(scene, window))
    # Torchvision keeps an object by its centre, so it may leave less of it than is learnt from.
    return cropped if cropped.learnable.any() else scene


def _draw_window(
    objects: npt.NDArray[np.float32], size_hw: tuple[int, int], *, seed: int
) -> tuple[int, int, int, int] | None:
    """A part of the image, xyxy in pixels, that keeps at least one of the objects (N, 4); None keeps all of it."""
    transform = v2.RandomIoUCrop(MIN_SCALE, sampler_options=possible_overlaps(objects, size_hw))
    boxes = tv_tensors.BoundingBoxes(torch.from_numpy(objects), format="XYXY", canvas_size=size_hw)
    with torch.random.fork_rng(devices=[]):  # The transform knows torch's shared generator only.
        torch.default_generator.manual_seed(seed)
        drawn = transform.make_params([boxes])
    if not drawn:
        return None
    left, top = drawn["left"], drawn["top"]
    return left, top, left + drawn["width"], top + drawn["height"]


def possible_overlaps(objects: npt.NDArray[np.float32], size_hw: tuple[int, int]) -> list[float]:
    """Those of ``OVERLAPS`` that a crop can have with an object (N, 4); N > 0.

    Where objects are small beside the smallest crop, torchvision would try the others in vain, 40 times each, and then
    draw anew: without them the odds are the same.
    """
    smallest_crop = int(MIN_SCALE * size_hw[0]) * int(MIN_SCALE * size_hw[1])
    largest_object = float(box_areas(objects).max())
    return [overlap for overlap in OVERLAPS if overlap == 1 or overlap * smallest_crop <= largest_object]


def _show(scene: Scene, window: tuple[int, int, int, int]) -> View:
    """The window in the size of the scene."""
    left, top, right, bottom = window
    height, width = scene.size_hw
    zoom = min(height / (bottom - top), width / (right - left))
    size_hw = round((bottom - top) * zoom), round((right - left) * zoom)
    image = np.empty_like(scene.image)
    image[:] = PAD_COLOUR
    image[: size_hw[0], : size_hw[1]] = resize(scene.image[top:bottom, left:right], size_hw)
    view = cut(scene.boxes, window, image)
    scale_y, scale_x = size_hw[0] / (bottom - top), size_hw[1] / (right - left)
    boxes = (view.boxes - [left, top, left, top]) * [scale_x, scale_y, scale_x, scale_y]
    return view._replace(boxes=boxes.astype(np.float32))

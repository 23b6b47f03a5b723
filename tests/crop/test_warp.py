"""Warped regions: a pixel-by-pixel version, OpenCV, and cases worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from detection.crop.warp import CropShape, warp_regions
from detection.preprocess import PAD_COLOUR, Image, stack_images
from tests.builders import random_pixels


def naive_warp(image: Image, box: list[float], shape: CropShape) -> npt.NDArray[np.float64]:
    """One crop (S, S, 3), one pixel after the other."""
    side, context = shape
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    grow = side / (side - 2 * context)
    left, top = (x1 + x2) / 2 - grow * (x2 - x1) / 2, (y1 + y2) / 2 - grow * (y2 - y1) / 2
    crop = np.empty((side, side, 3))
    for i in range(side):
        for j in range(side):
            x = left + (j + 0.5) / side * grow * (x2 - x1)
            y = top + (i + 0.5) / side * grow * (y2 - y1)
            crop[i, j] = _bilinear(image, x, y) if 0 <= x <= width and 0 <= y <= height else PAD_COLOUR
    return crop


def _bilinear(image: Image, x: float, y: float) -> npt.NDArray[np.float64]:
    """The colour at a place in pixel edges; the outermost half pixels repeat the border."""
    height, width = image.shape[:2]
    column, row = min(max(x - 0.5, 0), width - 1), min(max(y - 0.5, 0), height - 1)
    j, i = int(column), int(row)
    right, below = min(j + 1, width - 1), min(i + 1, height - 1)
    upper = image[i, j] * (1 - (column - j)) + image[i, right] * (column - j)
    lower = image[below, j] * (1 - (column - j)) + image[below, right] * (column - j)
    return upper * (1 - (row - i)) + lower * (row - i)


def warp(images: list[Image], boxes: list[list[float]], rows: list[int], shape: CropShape) -> torch.Tensor:
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    places = torch.tensor(boxes).reshape(-1, 4), torch.tensor(rows, dtype=torch.int64)
    return warp_regions(stack_images(images), sizes, *places, shape=shape)


BOXES = [
    [3.0, 4.0, 21.5, 17.25],
    [0.0, 0.0, 40.0, 50.0],
    [38.3, 41.0, 40.0, 50.0],  # at a corner: most of its surroundings lie outside
    [7.0, 9.0, 8.5, 39.0],  # thin
]


@pytest.mark.parametrize("shape", [CropShape(13, 0), CropShape(16, 3)])
def test_every_crop_is_that_of_the_naive_version(shape: CropShape) -> None:
    images = [random_pixels((50, 40), seed=1), random_pixels((50, 70), seed=2)]
    boxes, rows = [*BOXES, *BOXES], [0, 1, 0, 1, 1, 0, 1, 0]
    crops = warp(images, boxes, rows, shape).permute(0, 2, 3, 1).numpy()
    for crop, box, row in zip(crops, boxes, rows, strict=True):
        np.testing.assert_allclose(crop, naive_warp(images[row], box, shape), atol=0.02)


@pytest.mark.parametrize("size_hw", [(31, 90), (200, 64), (1, 1)])
def test_a_whole_image_without_context_is_scaled_as_opencv_scales(size_hw: tuple[int, int]) -> None:
    image = random_pixels(size_hw)
    crop = warp([image], [[0.0, 0.0, size_hw[1], size_hw[0]]], [0], CropShape(48, 0))[0].permute(1, 2, 0).numpy()
    expected = cv2.resize(image, (48, 48), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(crop, expected, atol=1)  # OpenCV rounds


def test_at_one_to_one_the_crop_is_the_region_with_its_surroundings() -> None:
    """A region of 24 pixels in crops of 32 with a context of 4: 32 - 2 * 4 = 24, so no pixel is scaled."""
    image = random_pixels((60, 60))
    crop = warp([image], [[10.0, 20.0, 34.0, 44.0]], [0], CropShape(32, 4))[0].permute(1, 2, 0)
    np.testing.assert_allclose(crop.numpy(), image[16:48, 6:38], atol=0.01)


def test_outside_of_the_image_is_the_mean_colour_also_where_the_batch_has_padding() -> None:
    images = [random_pixels((20, 30), seed=1), random_pixels((64, 64), seed=2)]
    batch = stack_images(images)
    batch[0, :, 20:] = batch[0, :, :, 30:] = 255  # padding that must not be seen
    boxes, rows = torch.tensor([[6.0, -4.0, 30.0, 20.0]]), torch.tensor([0])
    crop = warp_regions(batch, [(20, 30), (64, 64)], boxes, rows, shape=CropShape(32, 4))[0].permute(1, 2, 0)
    # The crop shows x 2..34 and y -8..24 of an image of 30 x 20, pixel by pixel.
    expected = np.tile(np.array(PAD_COLOUR, dtype=np.float32), (32, 32, 1))
    expected[8:28, :28] = images[0][:, 2:]
    np.testing.assert_allclose(crop.numpy(), expected, atol=0.01)


def test_no_regions_give_no_crops() -> None:
    assert warp([random_pixels((20, 30))], [], [], CropShape(32, 4)).shape == (0, 3, 32, 32)

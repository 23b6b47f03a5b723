"""From an image of any size to the network's input, and boxes back again.

An image is scaled so that its longer side fits, then padded at the right and below. The size depends on the image
alone, never on its batch. Legend: B images, H/W padded size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detection.errors import InputError
from proposals.box_ops import clip

PAD_MULTIPLE = 32
"""The largest stride of the pyramid: every level divides the input evenly."""

PAD_COLOUR = (124, 116, 104)
"""The mean colour: after normalisation the padding is about 0."""

Image = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.float32]


def check_images(images: Sequence[Image]) -> None:
    """Makes sure that these are images as a detector takes them.

    Raises:
        InputError: If one has another shape or type; says which.
    """
    for index, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            got = f"{image.dtype} {image.shape}"
            raise InputError(f"image {index}: expected (H, W, 3) uint8 RGB, got {got}; read it with read_image")


def resized_size(size_hw: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """Height and width after scaling the longer side to ``longest_side``; at least 1 pixel each."""
    height, width = size_hw
    scale = longest_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def padded_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width rounded up to multiples of ``PAD_MULTIPLE``."""
    height, width = (-(-side // PAD_MULTIPLE) * PAD_MULTIPLE for side in size_hw)
    return height, width


def resize(image: Image, size_hw: tuple[int, int]) -> Image:
    """Scales an (H, W, 3) image; averages when it shrinks by more than half, so that fine detail does not alias.

    With less shrinking, bilinear samples still see every pixel, in a sixth of the time.
    """
    return image if image.shape[:2] == size_hw else np.asarray(_scaled(image, size_hw), dtype=np.uint8)


def resize_exactly(image: Image, size_hw: tuple[int, int]) -> Pixels:
    """The same in float32, without rounding: what other engines can repeat (OpenCV scales bytes in fixed point)."""
    pixels = image.astype(np.float32)
    return pixels if image.shape[:2] == size_hw else np.asarray(_scaled(pixels, size_hw), dtype=np.float32)


def _scaled(pixels: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[Any]:
    shrinks = 2 * size_hw[0] < pixels.shape[0]
    return np.asarray(cv2.resize(pixels, size_hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def scale_and_stack(images: Sequence[Image], sizes_hw: Sequence[tuple[int, int]]) -> Tensor:
    """The network's input: each image scaled to its size, then padded: B x (H, W, 3) -> (B, 3, h, w) float32."""
    return stack_images([resize_exactly(*each) for each in zip(images, sizes_hw, strict=True)])


def stack_images(images: Sequence[npt.NDArray[Any]]) -> Tensor:
    """Pads images to the smallest common size that the pyramid divides: B x (h, w, 3) -> (B, 3, H, W), type kept."""
    height, width = padded_size((max(i.shape[0] for i in images), max(i.shape[1] for i in images)))
    batch = np.empty((len(images), height, width, 3), dtype=images[0].dtype)
    for row, image in zip(batch, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
        row[image.shape[0] :] = row[: image.shape[0], image.shape[1] :] = PAD_COLOUR
    return torch.from_numpy(batch).permute(0, 3, 1, 2)  # channels last in memory


def original_boxes(boxes: Tensor, scaled_size_hw: tuple[int, int], original_size_hw: tuple[int, int]) -> Tensor:
    """Maps boxes (N, 4) from the scaled image back to the original one; they stay inside it."""
    height, width = (original / scaled for original, scaled in zip(original_size_hw, scaled_size_hw, strict=True))
    return clip(boxes * boxes.new_tensor([width, height, width, height]), original_size_hw)

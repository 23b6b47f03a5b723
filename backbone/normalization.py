"""From pixels to what the network sees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backbone.weights import IMAGENET_MEAN, IMAGENET_STD


class ColourNormalization(nn.Module):
    """Takes the mean colour away and divides by the spread; part of no state dict, since it is always the same."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD) * 255, persistent=False)

    def forward(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, 3, H, W) RGB from 0 to 255, uint8 or float32 -> normalised, in ``dtype`` and channels-last memory."""
        batch, channels, height, width = images.shape
        # Rows of W * 3 numbers instead of pixels of 3: loops long enough for vector instructions.
        rows = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
        rows = torch.sub(rows, self.mean.repeat(width)).div_(self.std.repeat(width))
        return rows.to(dtype).view(batch, height, width, channels).permute(0, 3, 1, 2)

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
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, 3, H, W) uint8 RGB -> normalised, in ``dtype`` and channels-last memory."""
        normalised = (images.float() - self.mean) / self.std
        return normalised.to(dtype, memory_format=torch.channels_last)

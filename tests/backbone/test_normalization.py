"""Colours are normalised as torchvision does it."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.functional import normalize

from backbone.normalization import ColourNormalization
from backbone.weights import IMAGENET_MEAN, IMAGENET_STD


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_it_is_torchvisions_and_leaves_the_images_as_they_are(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (2, 3, 5, 7), generator=torch.Generator().manual_seed(0)).to(dtype)
    before = images.clone()
    seen = ColourNormalization()(images, torch.float32)
    expected = normalize(before.float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_other_precisions() -> None:
    images = torch.randint(0, 256, (1, 3, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
    normalization = ColourNormalization()
    half = normalization(images, torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, normalization(images, torch.float32).bfloat16())

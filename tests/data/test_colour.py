"""Colour changes against torchvision's, one at a time."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from detection.data.colour import PROBABILITY, ColourChange, ColourSettings, draw_change
from detection.preprocess import Image


def middling_pixels() -> Image:
    """No channel so near the ends that a change cuts it off."""
    return np.random.default_rng(0).integers(90, 150, (20, 30, 3), dtype=np.uint8)


def as_tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_change_is_torchvisions(name: str, factor: float) -> None:
    image = middling_pixels()
    changed = ColourChange(**{"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, name: factor})(image)
    expected = getattr(reference, f"adjust_{name}")(as_tensor(image), factor).permute(1, 2, 0).numpy()
    assert changed.dtype == np.uint8
    np.testing.assert_allclose(changed.astype(int), expected.astype(int), atol=1.5)


def test_all_at_once_is_one_after_the_other() -> None:
    image = middling_pixels()
    whole = ColourChange(0.9, 1.2, 0.8, 0.0)(image)
    step = as_tensor(image).float() / 255
    for name, factor in (("brightness", 0.9), ("contrast", 1.2), ("saturation", 0.8)):
        step = getattr(reference, f"adjust_{name}")(step, factor)
    np.testing.assert_allclose(whole.astype(float), 255 * step.permute(1, 2, 0).numpy(), atol=1)


def test_hue_turns_colours_and_leaves_greys() -> None:
    grey = np.full((2, 2, 3), 77, dtype=np.uint8)
    assert np.array_equal(ColourChange(1, 1, 1, 0.3)(grey), grey)
    image = middling_pixels()
    np.testing.assert_allclose(ColourChange(1, 1, 1, 1.0)(image).astype(int), image.astype(int), atol=1)
    reddish = np.array([[[150, 100, 100]]], dtype=np.uint8)
    turned = ColourChange(1, 1, 1, 0.05)(reddish)[0, 0] / 255
    assert colorsys.rgb_to_hsv(*turned)[0] == pytest.approx(0.05, abs=0.025)


def test_ends_are_cut_off() -> None:
    assert ColourChange(2.0, 1, 1, 0)(np.full((1, 1, 3), 200, dtype=np.uint8)).tolist() == [[[255, 255, 255]]]


def test_draws_stay_in_range_and_repeat() -> None:
    settings = ColourSettings(0.2, 0.3, 0.4, 0.05)
    changes = [draw_change(settings, np.random.default_rng(seed)) for seed in range(400)]
    drawn = [change for change in changes if change is not None]
    assert len(drawn) / 400 == pytest.approx(PROBABILITY, abs=0.06)
    for name, amount, centre in (
        ("brightness", 0.2, 1),
        ("contrast", 0.3, 1),
        ("saturation", 0.4, 1),
        ("hue", 0.05, 0),
    ):
        values = [getattr(change, name) for change in drawn]
        assert centre - amount <= min(values) < centre - 0.9 * amount
        assert centre + 0.9 * amount < max(values) <= centre + amount
    assert changes[3] == draw_change(settings, np.random.default_rng(3))


def test_still_settings_draw_nothing_and_use_up_as_much_chance() -> None:
    one, other = np.random.default_rng(0), np.random.default_rng(0)
    assert draw_change(ColourSettings(0, 0, 0), one) is None
    draw_change(ColourSettings(1, 1, 1), other)
    assert one.random() == other.random()

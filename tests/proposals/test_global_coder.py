"""Corner offsets and back, in units of the image."""

from __future__ import annotations

import torch

from proposals.global_coder import decode_corners, denormalize, encode_corners, normalize
from tests.proposals.boxes import as_boxes, random_boxes

IMAGE_SIZE_HW = (60, 80)


def test_by_hand() -> None:
    """An image 200 wide and 100 high: (20, 10, 60, 50) is (0.1, 0.1, 0.3, 0.5) of it.

    From the prior (0.05, 0.1, 0.35, 0.4): (5, 0, -5, 10) hundredths.
    """
    box, prior = as_boxes((20, 10, 60, 50)), as_boxes((0.05, 0.1, 0.35, 0.4))
    box_norm = normalize(box, (100, 200))
    torch.testing.assert_close(box_norm, as_boxes((0.1, 0.1, 0.3, 0.5)))
    offsets = encode_corners(box_norm, prior)
    torch.testing.assert_close(offsets, torch.tensor([[5.0, 0.0, -5.0, 10.0]]), rtol=0, atol=1e-5)
    torch.testing.assert_close(denormalize(decode_corners(offsets, prior), (100, 200)), box)


def test_no_offsets_mean_the_prior_itself() -> None:
    priors = normalize(random_boxes(20), IMAGE_SIZE_HW)
    assert torch.equal(decode_corners(torch.zeros(20, 4), priors), priors)
    assert not encode_corners(priors, priors).any()


def test_round_trip_of_pixel_boxes() -> None:
    boxes, priors = random_boxes(200, seed=1), normalize(random_boxes(200, seed=2), IMAGE_SIZE_HW)
    offsets = encode_corners(normalize(boxes, IMAGE_SIZE_HW), priors)
    torch.testing.assert_close(denormalize(decode_corners(offsets, priors), IMAGE_SIZE_HW), boxes, rtol=0, atol=1e-4)


def test_round_trip_of_offsets() -> None:
    offsets = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 10
    priors = normalize(random_boxes(200), IMAGE_SIZE_HW)
    torch.testing.assert_close(encode_corners(decode_corners(offsets, priors), priors), offsets, rtol=0, atol=1e-4)


def test_priors_serve_a_batch() -> None:
    offsets, priors = torch.randn(3, 5, 4), normalize(random_boxes(5), IMAGE_SIZE_HW)
    together = decode_corners(offsets, priors)
    assert together.shape == (3, 5, 4)
    for row in range(3):
        assert torch.equal(together[row], decode_corners(offsets[row], priors))


def test_no_boxes() -> None:
    none = as_boxes()
    assert encode_corners(none, none).shape == (0, 4)
    assert denormalize(decode_corners(none, none), IMAGE_SIZE_HW).shape == (0, 4)
    assert normalize(none, IMAGE_SIZE_HW).shape == (0, 4)

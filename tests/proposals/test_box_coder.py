"""Offsets and back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from proposals.box_coder import MAX_LOG_RATIO, decode, encode
from tests.proposals.boxes import as_boxes, random_boxes

SIDE = st.floats(1.0, 500.0, width=32)
PLACE = st.floats(0.0, 1000.0, width=32)


@st.composite
def valid_boxes(draw: st.DrawFn) -> Tensor:
    """(1, 4) of 1 to 500 pixels a side: within the growth limit of each other only up to 62.5 times."""
    left, top, width, height = draw(PLACE), draw(PLACE), draw(SIDE), draw(SIDE)
    return as_boxes((left, top, left + width, top + height))


def test_by_hand() -> None:
    """Reference (10, 20, 30, 60): centre (20, 40), size (20, 40).

    Box (15, 40, 25, 120): centre (20, 80), size (10, 80).
    Offsets: ((20 - 20) / 20, (80 - 40) / 40, ln(10 / 20), ln(80 / 40)) = (0, 1, -ln 2, ln 2).
    """
    box, reference = as_boxes((15, 40, 25, 120)), as_boxes((10, 20, 30, 60))
    offsets = torch.tensor([[0.0, 1.0, -math.log(2), math.log(2)]])
    torch.testing.assert_close(encode(box, reference), offsets)
    torch.testing.assert_close(decode(offsets, reference), box)


def test_no_offsets_mean_the_reference_itself() -> None:
    references = random_boxes(20)
    torch.testing.assert_close(decode(torch.zeros(20, 4), references), references)
    torch.testing.assert_close(encode(references, references), torch.zeros(20, 4))


def test_round_trip_of_random_boxes() -> None:
    boxes, references = random_boxes(200, seed=1), random_boxes(200, seed=2)
    torch.testing.assert_close(decode(encode(boxes, references), references), boxes, rtol=1e-5, atol=1e-4)


def test_round_trip_of_random_offsets() -> None:
    offsets = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    references = random_boxes(200, min_size=8.0)
    torch.testing.assert_close(encode(decode(offsets, references), references), offsets, rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(valid_boxes(), valid_boxes())
def test_round_trip_within_the_growth_limit(box: Tensor, reference: Tensor) -> None:
    offsets = encode(box, reference)
    if (offsets[:, 2:] <= MAX_LOG_RATIO).all():
        torch.testing.assert_close(decode(offsets, reference), box, rtol=1e-4, atol=2e-3)
    else:
        grown = decode(offsets, reference)
        assert ((grown[:, 2:] - grown[:, :2]) <= (box[:, 2:] - box[:, :2]) + 2e-3).all()


def test_leading_shapes_are_kept() -> None:
    boxes, references = random_boxes(6, seed=1), random_boxes(6, seed=2)
    offsets = encode(boxes.reshape(2, 3, 4), references.reshape(2, 3, 4))
    assert torch.equal(offsets.reshape(6, 4), encode(boxes, references))
    assert torch.equal(
        decode(offsets, references.reshape(2, 3, 4)).reshape(6, 4), decode(encode(boxes, references), references)
    )


def test_growth_is_limited() -> None:
    """16 px grow to 1000 px and no further: centre 8, half of 1000 is 500, so (8 - 500, 8 + 500)."""
    reference = as_boxes((0, 0, 16, 16))
    expected = as_boxes((-492, -492, 508, 508))
    for growth in (MAX_LOG_RATIO, 10.0, 1e30, math.inf):
        offsets = torch.tensor([[0.0, 0.0, growth, growth]])
        torch.testing.assert_close(decode(offsets, reference), expected, rtol=1e-5, atol=1e-3)


def test_shrinking_is_not_limited() -> None:
    box = decode(torch.tensor([[0.0, 0.0, -1e4, 0.0]]), as_boxes((0, 0, 16, 16)))
    assert torch.equal(box, as_boxes((8, 0, 8, 16)))


@pytest.mark.parametrize("size_offset", [-1e4, -1.0, 0.0, 4.0, 1e4])
def test_gradient_of_decoding_is_finite(size_offset: float) -> None:
    offsets = torch.tensor([[0.5, -0.25, size_offset, size_offset]], requires_grad=True)
    decode(offsets, as_boxes((0, 0, 16, 32))).square().sum().backward()
    assert offsets.grad is not None
    assert offsets.grad.isfinite().all()
    assert (offsets.grad[:, :2] != 0).all()
    if abs(size_offset) < MAX_LOG_RATIO:
        assert (offsets.grad[:, 2:] != 0).all()


def test_gradients_agree_with_differences() -> None:
    boxes, references = random_boxes(3, seed=1).double(), random_boxes(3, seed=2, min_size=9.0).double()
    offsets = encode(boxes, references)
    assert torch.autograd.gradcheck(lambda x: encode(x, references), boxes.requires_grad_())
    assert torch.autograd.gradcheck(lambda x: decode(x, references), offsets.detach().requires_grad_())


def test_no_boxes_give_no_offsets() -> None:
    assert encode(as_boxes(), as_boxes()).shape == decode(as_boxes(), as_boxes()).shape == (0, 4)

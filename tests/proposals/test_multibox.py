"""Both forms of MultiBox: what they hand to their objectives."""

from __future__ import annotations

import pytest
import torch

from proposals.global_coder import denormalize
from proposals.global_head import GlobalMultiBoxHead
from proposals.matching import match_priors
from proposals.multibox import ConvolutionalMultiBox, GlobalMultiBox, InputSizes
from proposals.multibox_head import MultiBoxHead
from proposals.multibox_loss import multibox_loss
from proposals.structures import MultiBoxOutput

PRIORS_NORM = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.5, 0.4, 0.9, 0.8]])
SIZES = InputSizes((64, 96), [(60, 80), (40, 50)])
"""Two images of other sizes than their padding."""


def whole_image_multibox(*, alpha: float = 0.3, match_to: str = "predictions") -> GlobalMultiBox:
    head = GlobalMultiBoxHead(4, stride=32, num_priors=len(PRIORS_NORM), hidden=2, dropout=0.0)
    return GlobalMultiBox(head, PRIORS_NORM, alpha=alpha, match_to=match_to)  # type: ignore[arg-type]


def nothing_ignored(boxes: list[torch.Tensor]) -> list[torch.Tensor]:
    return [torch.zeros(len(each), dtype=torch.bool) for each in boxes]


def test_objects_are_measured_by_the_size_of_their_own_image() -> None:
    boxes = [denormalize(PRIORS_NORM[[0]], size_hw) for size_hw in SIZES.images_hw]
    output = MultiBoxOutput(torch.zeros(2, 2), torch.zeros(2, 2, 4))
    losses = whole_image_multibox().losses(output, SIZES, boxes, nothing_ignored(boxes))
    assert float(losses.localization) == pytest.approx(0, abs=1e-10)
    exchanged = whole_image_multibox().losses(output, SIZES, boxes[::-1], nothing_ignored(boxes))
    assert float(exchanged.localization) > 0.001


def test_alpha_is_that_of_the_setting() -> None:
    boxes = [denormalize(PRIORS_NORM[[0]] + 0.05, size_hw) for size_hw in SIZES.images_hw]
    output = MultiBoxOutput(torch.zeros(2, 2), torch.zeros(2, 2, 4))
    one, three = (
        whole_image_multibox(alpha=alpha).losses(output, SIZES, boxes, nothing_ignored(boxes)) for alpha in (0.2, 0.6)
    )
    assert float(three.localization) == pytest.approx(3 * float(one.localization))
    assert float(one.localization) > 0


@pytest.mark.parametrize("match_to", ["predictions", "priors"])
def test_objects_are_matched_to_predictions_or_to_priors(match_to: str) -> None:
    """The first prior predicts the second one's place, where the object is, and the other way round."""
    size_hw = (100, 100)
    swapped = (PRIORS_NORM.flip(0) - PRIORS_NORM)[None]
    multibox = whole_image_multibox(match_to=match_to)
    step = multibox.decode(torch.ones(1, 2, 4), torch.tensor([[0, 1]]), InputSizes(size_hw, [size_hw])) / 100
    offsets = swapped / (step - PRIORS_NORM)  # in the head's units
    boxes = [denormalize(PRIORS_NORM[[1]], size_hw)]
    output = MultiBoxOutput(torch.zeros(1, 2), offsets)
    losses = multibox.losses(output, InputSizes(size_hw, [size_hw]), boxes, nothing_ignored(boxes))
    assert (float(losses.localization) < 1e-6) is (match_to == "predictions")


def test_priors_on_a_grid_are_matched_as_the_setting_says() -> None:
    prior_sizes = torch.tensor([[[20.0, 20.0]], [[40.0, 40.0]]])
    boxes = [torch.tensor([[10.0, 10.0, 34.0, 31.0]]), torch.tensor([[5.0, 5.0, 40.0, 39.0], [20.0, 8.0, 44.0, 30.0]])]
    for positive_iou, min_matches in ((0.3, 1), (0.7, 3)):
        head = MultiBoxHead(4, num_levels=2, priors_per_cell=1, depth=1)
        multibox = ConvolutionalMultiBox(
            head, prior_sizes, strides=(16, 32), positive_iou=positive_iou, min_matches=min_matches
        )
        priors = multibox.priors(SIZES)
        generator = torch.Generator().manual_seed(0)
        output = MultiBoxOutput(
            torch.randn(2, len(priors), generator=generator), torch.randn(2, len(priors), 4, generator=generator)
        )
        ignore = nothing_ignored(boxes)
        matches = [
            match_priors(priors, b, i, positive_iou=positive_iou, min_matches=min_matches)
            for b, i in zip(boxes, ignore, strict=True)
        ]
        found, expected = multibox.losses(output, SIZES, boxes, ignore), multibox_loss(output, priors, boxes, matches)
        assert found == expected

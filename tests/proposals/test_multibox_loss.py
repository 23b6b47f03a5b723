"""The objective of the proposal stage: by hand, without objects, and who gets a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import pytest
import torch
from torch import Tensor

from proposals.box_coder import encode
from proposals.matching import BACKGROUND, IGNORED, match_priors
from proposals.multibox_loss import MultiBoxLosses, multibox_loss
from proposals.structures import MultiBoxOutput
from tests.proposals.boxes import as_boxes, random_boxes
from tests.proposals.outputs import gradients, make_matches, make_output

PRIORS = as_boxes((0, 0, 10, 10), (20, 0, 30, 20))
OBJECTS = as_boxes((25, 10, 35, 30), (0, 0, 10, 20))


def test_two_priors_and_two_boxes_by_hand() -> None:
    """Prior 0 belongs to object 1, prior 1 to object 0; offsets 0, so the boxes are the priors.

    Prior 0 and (0, 0, 10, 20): intersection 100, union 200, hull 200: IoU = GIoU = 1/2.
    Prior 1 (20, 0, 30, 20) and (25, 10, 35, 30): intersection 5 * 10 = 50, union 200 + 200 - 50 = 350,
    hull 15 * 30 = 450: IoU = 1/7, GIoU = 1/7 - 100/450 = -5/63.
    Localization: ((1 - 1/2) + (1 + 5/63)) / 2.
    Confidence: logit ln 3 is 3/4 and should be 1/2: (3/4 - 1/2)^2 * -(ln 3/4 + ln 1/4) / 2;
    logit 0 is 1/2 and should be 1/7: (1/2 - 1/7)^2 * ln 2, whatever the target. Both divided by 2 positives.
    """
    losses = multibox_loss(make_output(log(3), 0.0), PRIORS, [OBJECTS], [make_matches(1, 0)])
    assert losses.localization.item() == pytest.approx((1 / 2 + 68 / 63) / 2)
    first, second = (1 / 4) ** 2 * -(log(3 / 4) + log(1 / 4)) / 2, (5 / 14) ** 2 * log(2)
    assert losses.confidence.item() == pytest.approx((first + second) / 2)


def test_background_and_ignored_by_hand() -> None:
    """Prior 1 is background: (1/2)^2 * ln 2 more, and one positive only. An ignored prior adds nothing."""
    positive = (1 / 4) ** 2 * -(log(3 / 4) + log(1 / 4)) / 2
    losses = multibox_loss(make_output(log(3), 0.0), PRIORS, [OBJECTS], [make_matches(1, BACKGROUND)])
    assert losses.localization.item() == pytest.approx(1 / 2)
    assert losses.confidence.item() == pytest.approx(positive + log(2) / 4)
    losses = multibox_loss(make_output(log(3), 5.0), PRIORS, [OBJECTS], [make_matches(1, IGNORED)])
    assert losses.confidence.item() == pytest.approx(positive)


def test_perfect_answers_cost_nothing() -> None:
    """Boxes on the objects and confidences near 1; the offsets are relative to the priors."""
    offsets = encode(OBJECTS[[1, 0]], PRIORS)[None]
    losses = multibox_loss(MultiBoxOutput(torch.full((1, 2), 20.0), offsets), PRIORS, [OBJECTS], [make_matches(1, 0)])
    assert losses.localization.item() == pytest.approx(0.0, abs=1e-6)
    assert losses.confidence.item() == pytest.approx(0.0, abs=1e-6)


def test_image_without_objects() -> None:
    """No localization; negatives alone, undivided: (1/2)^2 ln 2 + (3/4)^2 ln 4 as softplus(ln 3) = ln 4."""
    output = make_output(0.0, log(3))
    losses = multibox_loss(output, PRIORS, [as_boxes()], [make_matches(BACKGROUND, BACKGROUND)])
    assert losses.localization.item() == 0.0
    assert losses.confidence.item() == pytest.approx(log(2) / 4 + 9 / 16 * log(4))
    by_logits, by_offsets = gradients(output, losses)
    assert (by_logits > 0).all()
    assert not by_offsets.any()


def test_image_of_ignored_objects_only() -> None:
    output = make_output(0.0, log(3))
    losses = multibox_loss(output, PRIORS, [OBJECTS], [make_matches(IGNORED, IGNORED)])
    assert (losses.localization.item(), losses.confidence.item()) == (0.0, 0.0)
    by_logits, by_offsets = gradients(output, losses)
    assert not by_logits.any()
    assert not by_offsets.any()


def test_who_gets_a_gradient() -> None:
    """Priors: positive, background, ignored. Only the positive one learns its place, the ignored one nothing."""
    priors = torch.cat([PRIORS, as_boxes((50, 50, 60, 60))])
    output = make_output(0.3, -0.4, 0.5)
    losses = multibox_loss(output, priors, [OBJECTS], [make_matches(1, BACKGROUND, IGNORED)])
    by_logits, by_offsets = gradients(output, losses)
    assert (by_logits[0] != 0).tolist() == [True, True, False]
    assert by_offsets[0].any(dim=1).tolist() == [True, False, False]


def test_confidence_does_not_move_boxes() -> None:
    """The quality is a target, not a way to make the box worse where the confidence is low."""
    output = make_output(-3.0, 1.0)
    losses = multibox_loss(output, PRIORS, [OBJECTS], [make_matches(1, 0)])
    (by_offsets,) = torch.autograd.grad(losses.confidence, (output.offsets,), allow_unused=True)
    assert by_offsets is None or not by_offsets.any()


@pytest.mark.parametrize(("logit", "sign"), [(3.0, 1), (-3.0, -1)])
def test_confidence_goes_towards_the_overlap(logit: float, sign: int) -> None:
    output = make_output(logit, -20.0)
    losses = multibox_loss(output, PRIORS, [OBJECTS], [make_matches(1, BACKGROUND)])
    (by_logits,) = torch.autograd.grad(losses.confidence, (output.logits,))
    assert by_logits[0, 0].sign() == sign


def random_case(batch_size: int) -> tuple[MultiBoxOutput, Tensor, list[Tensor], list[Tensor]]:
    """Images with 3, 0 and then 2, 4, ... objects."""
    generator = torch.Generator().manual_seed(0)
    priors = random_boxes(30, seed=1)
    counts = [3, 0, *range(2, 2 * batch_size, 2)][:batch_size]
    gt_boxes = [random_boxes(count, seed=10 + row) for row, count in enumerate(counts)]
    matches = [match_priors(priors, boxes, torch.zeros(len(boxes), dtype=torch.bool)) for boxes in gt_boxes]
    logits = torch.randn(batch_size, 30, generator=generator, requires_grad=True)
    offsets = torch.randn(batch_size, 30, 4, generator=generator, requires_grad=True)
    return MultiBoxOutput(logits, offsets), priors, gt_boxes, matches


def count_positive(matches: Sequence[Tensor]) -> int:
    return sum(int((match >= 0).sum()) for match in matches)


def test_batch_is_the_mean_over_positives() -> None:
    output, priors, gt_boxes, matches = random_case(3)
    losses = multibox_loss(output, priors, gt_boxes, matches)
    sums = MultiBoxLosses(torch.zeros(()), torch.zeros(()))
    for row in range(3):
        single = MultiBoxOutput(output.logits[[row]], output.offsets[[row]])
        part = multibox_loss(single, priors, [gt_boxes[row]], [matches[row]])
        weight = max(count_positive([matches[row]]), 1)
        sums = MultiBoxLosses(
            sums.localization + weight * part.localization, sums.confidence + weight * part.confidence
        )
    torch.testing.assert_close(losses.localization, sums.localization / count_positive(matches))
    torch.testing.assert_close(losses.confidence, sums.confidence / count_positive(matches))


def test_descent_brings_the_boxes_to_the_objects() -> None:
    output, priors, gt_boxes, matches = random_case(2)
    first = multibox_loss(output, priors, gt_boxes, matches)
    optimizer = torch.optim.Adam(tuple(output), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        losses = multibox_loss(output, priors, gt_boxes, matches)
        (losses.localization + losses.confidence).backward()
        optimizer.step()
    assert losses.localization < 0.1 < first.localization
    assert losses.confidence < 0.02 < first.confidence


def test_as_many_box_lists_as_images() -> None:
    with pytest.raises(ValueError, match="zip"):
        multibox_loss(make_output(0.0, 0.0), PRIORS, [OBJECTS, OBJECTS], [make_matches(1, 0)])

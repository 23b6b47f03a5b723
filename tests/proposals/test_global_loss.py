"""F of the first MultiBox: by hand, term by term, without objects, and as what the matching minimises."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import exp, log

import pytest
import torch
from torch import Tensor

from proposals.bipartite import match_bipartite
from proposals.global_coder import CORNER_SPREAD, decode_corners, normalize
from proposals.global_loss import ALPHA, global_multibox_loss
from proposals.matching import BACKGROUND, IGNORED
from proposals.structures import MultiBoxOutput
from tests.proposals.boxes import as_boxes, random_boxes
from tests.proposals.outputs import gradients, make_matches, make_output

IMAGE_SIZE_HW = (60, 80)
PRIORS = as_boxes((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1))


def random_norm(num_boxes: int, seed: int) -> Tensor:
    return normalize(random_boxes(num_boxes, IMAGE_SIZE_HW, seed=seed), IMAGE_SIZE_HW)


def random_output(batch_size: int, num_priors: int, seed: int = 0) -> MultiBoxOutput:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch_size, num_priors, generator=generator)
    offsets = 5 * torch.randn(batch_size, num_priors, 4, generator=generator)
    return MultiBoxOutput(logits.requires_grad_(), offsets.requires_grad_())


def term_by_term(
    output: MultiBoxOutput, priors: Tensor, gt_boxes: Sequence[Tensor], matches: Sequence[Tensor]
) -> tuple[float, float]:
    """The paper's sums, one prior after the other, over the number of matched objects."""
    localization = confidence = 0.0
    num_matched = 0
    for image, owners in enumerate(matches):
        for prior, owner in enumerate(owners.tolist()):
            certainty = 1 / (1 + exp(-output.logits[image, prior].item()))
            if owner >= 0:
                num_matched += 1
                confidence -= log(certainty)
                for edge in range(4):
                    predicted = priors[prior, edge] + CORNER_SPREAD * output.offsets[image, prior, edge]
                    error = (predicted - gt_boxes[image][owner, edge]).item() / CORNER_SPREAD
                    localization += ALPHA / 2 * error**2
            elif owner == BACKGROUND:
                confidence -= log(1 - certainty)
    return localization / max(num_matched, 1), confidence / max(num_matched, 1)


def test_two_priors_by_hand() -> None:
    """Prior 1 has the object (0.52, 0.5, 1, 0.97): 2 and 3 units off, 0.3 / 2 * (4 + 9) = 1.95.

    Log odds ln 3 of background: c = 3/4, -ln 1/4; 0 of the object: -ln 1/2. One object.
    """
    losses = global_multibox_loss(
        make_output(log(3), 0.0), PRIORS, [as_boxes((0.52, 0.5, 1, 0.97))], [make_matches(BACKGROUND, 0)]
    )
    assert losses.localization.item() == pytest.approx(1.95, rel=1e-4)
    assert losses.confidence.item() == pytest.approx(log(4) + log(2))


def test_ignored_priors_have_no_part() -> None:
    output = make_output(log(3), 0.0)
    objects = [as_boxes((0, 0, 0.2, 0.2), (0.5, 0.5, 1, 1))]
    losses = global_multibox_loss(output, PRIORS, objects, [make_matches(IGNORED, 1)])
    assert losses.localization.item() == pytest.approx(0, abs=1e-8)
    assert losses.confidence.item() == pytest.approx(log(2))
    by_logits, by_offsets = gradients(output, losses)
    assert by_logits[0].tolist() == [0, pytest.approx(-0.5)]
    assert not by_offsets.any()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("use_priors", [False, True])
def test_random_batches_term_by_term(seed: int, use_priors: bool) -> None:
    """Images with 3 objects, none, 2 and an ignored region, and more objects than priors."""
    priors, output = random_norm(6, seed), random_output(4, 6, seed)
    gt_boxes = [random_norm(count, 10 + seed + count) for count in (3, 0, 3, 8)]
    gt_boxes[2][1] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    ignored = [torch.zeros(len(boxes), dtype=torch.bool) for boxes in gt_boxes]
    ignored[2][1] = True
    matches = [
        match_bipartite(
            decode_corners(output.offsets[row], priors),
            output.logits[row],
            gt_boxes[row],
            ignored[row],
            alpha=ALPHA,
            priors_norm=priors if use_priors else None,
        )
        for row in range(4)
    ]
    assert [int((match >= 0).sum()) for match in matches] == [3, 0, 2, 6]
    assert IGNORED in matches[2]
    losses = global_multibox_loss(output, priors, gt_boxes, matches)
    localization, confidence = term_by_term(output, priors, gt_boxes, matches)
    assert losses.localization.item() == pytest.approx(localization, rel=1e-4)
    assert losses.confidence.item() == pytest.approx(confidence, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_matching_minimises_the_loss(seed: int) -> None:
    priors, output, gt_boxes = random_norm(4, seed), random_output(1, 4, seed), random_norm(3, 20 + seed)
    boxes = decode_corners(output.offsets[0], priors)
    match = match_bipartite(boxes, output.logits[0], gt_boxes, torch.zeros(3, dtype=torch.bool), alpha=ALPHA)
    totals = {
        owners: sum(loss.item() for loss in global_multibox_loss(output, priors, [gt_boxes], [torch.tensor(owners)]))
        for owners in permutations((0, 1, 2, BACKGROUND))
    }
    assert len(totals) == 24
    assert tuple(match.tolist()) == min(totals, key=lambda owners: totals[owners])


@pytest.mark.parametrize("owner", [BACKGROUND, IGNORED])
def test_without_objects(owner: int) -> None:
    """Also where everything is ignored."""
    output = random_output(2, 6)
    matches = [torch.full((6,), owner)] * 2
    losses = global_multibox_loss(output, random_norm(6, 0), [as_boxes(), as_boxes()], matches)
    assert losses.localization.item() == 0
    negatives = torch.nn.functional.softplus(output.logits).sum().item()
    assert losses.confidence.item() == pytest.approx(negatives if owner == BACKGROUND else 0, rel=1e-5)
    _, by_offsets = gradients(output, losses)
    assert not by_offsets.any()


def test_certain_answers_have_finite_losses() -> None:
    """Wrong with certainty: a loss as large as the log odds, and a gradient of 1."""
    output = make_output(300.0, -300.0)
    losses = global_multibox_loss(output, PRIORS, [PRIORS[1:]], [make_matches(BACKGROUND, 0)])
    assert losses.confidence.item() == pytest.approx(600)
    by_logits, _ = gradients(output, losses)
    assert by_logits[0].tolist() == [1, -1]


def test_gradients_by_hand() -> None:
    """Of the offsets: alpha * (l - g) in units, for the matched prior alone. Of the logits: c - x."""
    output = make_output(log(3), 0.0)
    objects = [as_boxes((0.52, 0.5, 1, 0.97))]
    losses = global_multibox_loss(output, PRIORS, objects, [make_matches(BACKGROUND, 0)])
    by_logits, by_offsets = gradients(output, losses)
    torch.testing.assert_close(by_logits[0], torch.tensor([3 / 4, 1 / 2 - 1]))
    expected = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-0.6, 0.0, 0.0, 0.9]])
    torch.testing.assert_close(by_offsets[0], expected, rtol=0, atol=1e-5)


def test_alpha_weighs_the_boxes_alone() -> None:
    output, objects, matches = make_output(log(3), 0.0), [as_boxes((0.6, 0.5, 1, 1))], [make_matches(BACKGROUND, 0)]
    one, three = (global_multibox_loss(output, PRIORS, objects, matches, alpha=alpha) for alpha in (1.0, 3.0))
    assert three.localization.item() == pytest.approx(3 * one.localization.item())
    assert three.confidence.item() == one.confidence.item()


def test_as_many_box_lists_as_images() -> None:
    with pytest.raises(ValueError, match="zip"):
        global_multibox_loss(make_output(0.0, 0.0), PRIORS, [PRIORS, PRIORS], [make_matches(1, 0)])

"""From the head's answers to proposals."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import pytest
import torch
from torch import Tensor
from torchvision.ops import nms

from proposals.box_coder import decode
from proposals.generator import ProposalSettings, generate_proposals
from proposals.multibox import ConvolutionalMultiBox, InputSizes
from proposals.multibox_head import MultiBoxHead
from proposals.structures import MultiBoxOutput, Proposals
from tests.proposals.boxes import as_boxes, random_boxes
from tests.proposals.contracts import assert_valid_proposals

IMAGE_SIZE_HW = (60, 80)


class StillMultiBox(ConvolutionalMultiBox):
    """The convolutional form whose priors lie where a test wants them."""

    def __init__(self, still_priors: Tensor) -> None:
        head = MultiBoxHead(8, num_levels=1, priors_per_cell=1, depth=0)
        super().__init__(head, torch.ones(1, 1, 2), strides=(8,), positive_iou=0.5, min_matches=1)
        self.still_priors = still_priors

    def priors(self, sizes: InputSizes) -> Tensor:
        return self.still_priors


def generate(
    output: MultiBoxOutput,
    priors: Tensor,
    sizes_hw: Sequence[tuple[int, int]] = (IMAGE_SIZE_HW,),
    *,
    num_proposals: int = 100,
    num_candidates: int = 100,
    nms_iou_threshold: float = 0.5,
) -> list[Proposals]:
    """Calls the generator and checks what holds for all its answers."""
    proposals = generate_proposals(
        StillMultiBox(priors),
        output,
        InputSizes((0, 0), sizes_hw),
        ProposalSettings(num_proposals, num_candidates, nms_iou_threshold),
    )
    assert [each.image_size_hw for each in proposals] == list(sizes_hw)
    for each in proposals:
        assert_valid_proposals(each)
        assert len(each) <= num_proposals
    return proposals


def as_output(*logits: float) -> MultiBoxOutput:
    """One image; every prior answers with itself."""
    return MultiBoxOutput(torch.tensor([logits]), torch.zeros(1, len(logits), 4))


def random_output(batch_size: int, num_priors: int, seed: int = 0) -> MultiBoxOutput:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch_size, num_priors, generator=generator) * 2
    return MultiBoxOutput(logits, torch.randn(batch_size, num_priors, 4, generator=generator) * 0.3)


# Prior 1 overlaps prior 0 by 8*10 / (100 + 100 - 80) = 2/3; prior 2 overlaps it by 5*10 / 150 = 1/3; 3 is far away.
HAND_PRIORS = as_boxes((0, 0, 10, 10), (2, 0, 12, 10), (5, 0, 15, 10), (40, 40, 60, 50))


def test_by_hand() -> None:
    """Order by confidence: 3, 1, 2, 0. Prior 1 outdoes 0 (2/3) and 2 (7*10 / 130 = 0.54); offsets move prior 3.

    Prior 3: centre (50, 45), size (20, 10); offsets (0.1, 0.2, ln 2, 0): centre (52, 47), size (40, 10).
    """
    output = as_output(log(1), log(4), log(3), log(9))
    output.offsets[0, 3] = torch.tensor([0.1, 0.2, log(2), 0.0])
    (proposals,) = generate(output, HAND_PRIORS)
    torch.testing.assert_close(proposals.boxes, as_boxes((32, 42, 72, 52), (2, 0, 12, 10)))
    torch.testing.assert_close(proposals.scores, torch.tensor([0.9, 0.8]))


@pytest.mark.parametrize(("nms_iou_threshold", "expected"), [(0.3, [3, 1]), (0.55, [3, 1, 2]), (0.7, [3, 1, 2, 0])])
def test_threshold_of_suppression(nms_iou_threshold: float, expected: list[int]) -> None:
    """Overlaps of 1 and 2: 0.54; of 0 and 1: 0.67; of 0 and 2: 0.33."""
    (proposals,) = generate(as_output(0.0, 2.0, 1.0, 3.0), HAND_PRIORS, nms_iou_threshold=nms_iou_threshold)
    assert torch.equal(proposals.boxes, HAND_PRIORS[expected])


def test_candidates_are_chosen_before_suppression_and_proposals_after() -> None:
    output = as_output(0.0, 2.0, 1.0, -1.0)  # order: 1, 2, 0, 3
    (two,) = generate(output, HAND_PRIORS, num_candidates=2, nms_iou_threshold=0.55)
    assert torch.equal(two.boxes, HAND_PRIORS[[1, 2]])
    (only,) = generate(output, HAND_PRIORS, num_candidates=2, nms_iou_threshold=0.5)
    assert torch.equal(only.boxes, HAND_PRIORS[[1]])
    (best,) = generate(output, HAND_PRIORS, num_proposals=2, nms_iou_threshold=0.7)
    assert torch.equal(best.boxes, HAND_PRIORS[[1, 2]])  # of the four that are left
    (parted,) = generate(output, HAND_PRIORS, num_proposals=2, nms_iou_threshold=0.5)
    assert torch.equal(parted.boxes, HAND_PRIORS[[1, 3]])


@pytest.mark.parametrize("nms_iou_threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_suppression_is_that_of_torchvision(nms_iou_threshold: float, seed: int) -> None:
    priors, output = random_boxes(100, seed=seed), random_output(1, 100, seed)
    (proposals,) = generate(output, priors, nms_iou_threshold=nms_iou_threshold)
    height, width = IMAGE_SIZE_HW
    boxes = decode(output.offsets[0], priors)
    boxes = torch.stack([boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)], dim=2).flatten(1)
    rows = ((boxes[:, 2] - boxes[:, 0] > 1) & (boxes[:, 3] - boxes[:, 1] > 1)).nonzero().squeeze(1)
    scores = output.logits[0].sigmoid()
    kept = rows[nms(boxes[rows], scores[rows], nms_iou_threshold)]
    assert 1 < len(kept) < 100
    torch.testing.assert_close(proposals.boxes, boxes[kept], rtol=0, atol=1e-4)
    torch.testing.assert_close(proposals.scores, scores[kept])


def test_boxes_end_at_the_image_and_not_at_the_padding() -> None:
    """The input may be 64 x 96; the image in it is 60 x 80."""
    priors = as_boxes((-5, -5, 20, 20), (70, 50, 96, 64), (0, 30, 96, 50))
    (proposals,) = generate(as_output(3.0, 2.0, 1.0), priors)
    assert torch.equal(proposals.boxes, as_boxes((0, 0, 20, 20), (70, 50, 80, 60), (0, 30, 80, 50)))


def test_boxes_in_the_padding_and_slivers_are_dropped() -> None:
    """Right of the image, below it, exactly 1 px of it, a little more, and inside but thin."""
    priors = as_boxes((81, 0, 96, 20), (0, 61, 20, 64), (79, 0, 96, 20), (78.5, 30, 96, 50), (0, 0, 20, 0.5))
    (proposals,) = generate(as_output(5.0, 4.0, 3.0, 2.0, 1.0), priors)
    assert torch.equal(proposals.boxes, as_boxes((78.5, 30, 80, 50)))


def test_nothing_left() -> None:
    (proposals,) = generate(as_output(5.0, 4.0), as_boxes((81, 0, 96, 20), (0, 61, 20, 64)))
    assert proposals.boxes.shape == (0, 4)
    assert proposals.scores.shape == (0,)


def test_no_priors() -> None:
    (proposals,) = generate(MultiBoxOutput(torch.zeros(1, 0), torch.zeros(1, 0, 4)), as_boxes())
    assert len(proposals) == 0


def test_more_candidates_than_priors() -> None:
    priors, output = random_boxes(30), random_output(1, 30)
    (many,), (exact,) = generate(output, priors, num_candidates=5000), generate(output, priors, num_candidates=30)
    assert torch.equal(many.boxes, exact.boxes)
    assert torch.equal(many.scores, exact.scores)


def test_batch_of_two_equals_two_singles() -> None:
    """Images of different size, so that each is clipped to its own."""
    priors, output, sizes_hw = random_boxes(60), random_output(2, 60), [(60, 80), (33, 41)]
    together = generate(output, priors, sizes_hw, num_candidates=40)
    for row, size_hw in enumerate(sizes_hw):
        single = MultiBoxOutput(output.logits[[row]], output.offsets[[row]])
        (alone,) = generate(single, priors, [size_hw], num_candidates=40)
        assert len(alone) > 3
        assert torch.equal(together[row].boxes, alone.boxes)
        assert torch.equal(together[row].scores, alone.scores)


def test_certain_answers_stay_sorted() -> None:
    """Logits above 17 all give a score of 1."""
    (proposals,) = generate(as_output(90.0, 30.0, 50.0, 0.0), HAND_PRIORS, nms_iou_threshold=0.9)
    assert proposals.scores.tolist() == [1.0, 1.0, 1.0, 0.5]


def test_no_gradient_passes() -> None:
    output = MultiBoxOutput(torch.zeros(1, 4, requires_grad=True), torch.zeros(1, 4, 4, requires_grad=True))
    generate(output, HAND_PRIORS)  # the contract looks


def test_as_many_sizes_as_images() -> None:
    with pytest.raises(ValueError, match="zip"):
        generate(random_output(2, 4), HAND_PRIORS, [IMAGE_SIZE_HW])


def test_records_refuse_boxes_without_scores() -> None:
    with pytest.raises(ValueError, match=r"boxes must have shape \(3, 4\), got \(2, 4\)"):
        Proposals(torch.zeros(2, 4), torch.zeros(3), IMAGE_SIZE_HW)

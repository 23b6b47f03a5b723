"""Two lists of proposals become one."""

from __future__ import annotations

import pytest
import torch

from proposals.merging import merge_proposals
from proposals.structures import Proposals
from tests.proposals.boxes import random_boxes
from tests.proposals.contracts import assert_valid_proposals

SIZE_HW = (60, 80)


def proposals(count: int, seed: int, size_hw: tuple[int, int] = SIZE_HW) -> Proposals:
    boxes = random_boxes(count, size_hw, seed=seed)
    return Proposals(boxes, torch.linspace(1, 0, count + 1)[:-1], size_hw)


@pytest.mark.parametrize(("num_learned", "num_given"), [(3, 5), (0, 4), (4, 0), (0, 0)])
def test_learned_boxes_come_first_and_each_keeps_its_order(num_learned: int, num_given: int) -> None:
    learned, given = proposals(num_learned, 0), proposals(num_given, 1)
    merged = merge_proposals(learned, given)
    assert_valid_proposals(merged)
    torch.testing.assert_close(merged.boxes, torch.cat([learned.boxes, given.boxes]))
    assert (merged.scores[:num_learned] > 0.5).all()
    assert (merged.scores[num_learned:] <= 0.5).all()


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(60, 80\) and \(60, 81\) cannot be merged"):
        merge_proposals(proposals(1, 0), proposals(1, 0, (60, 81)))

"""The head: shapes, its start, folding, independence of the batch. Its order is tested with the priors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from backbone.inception import fold_batch_norm
from proposals.multibox_head import MultiBoxHead, SharedConv
from tests.backbone.networks import fill_parameters, num_batch_norms, random_images

CHANNELS = 6
SIZES_HW = ((4, 6), (2, 3), (1, 2))
NUM_CELLS = 24 + 6 + 2
PRIORS_PER_CELL = 3


def make_head(depth: int = 2) -> MultiBoxHead:
    return MultiBoxHead(CHANNELS, num_levels=len(SIZES_HW), priors_per_cell=PRIORS_PER_CELL, depth=depth)


def make_filled_head() -> MultiBoxHead:
    """Every number drawn, so that the levels have different statistics."""
    head = make_head()
    fill_parameters(head)
    return head.eval()


def random_pyramid(batch_size: int) -> list[Tensor]:
    return [random_images(batch_size, size, seed, CHANNELS) for seed, size in enumerate(SIZES_HW)]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_shapes(depth: int) -> None:
    output = make_head(depth)(random_pyramid(2))
    assert output.logits.shape == (2, NUM_CELLS * PRIORS_PER_CELL)
    assert output.offsets.shape == (2, NUM_CELLS * PRIORS_PER_CELL, 4)


def test_answers_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = make_head()(random_pyramid(1))
    assert (output.logits.dtype, output.offsets.dtype) == (torch.float32, torch.float32)


def test_every_prior_starts_at_one_percent() -> None:
    head = make_head().eval()
    with torch.no_grad():
        blank = head([torch.zeros_like(features) for features in random_pyramid(1)])
        output = head(random_pyramid(4))
    torch.testing.assert_close(blank.logits.sigmoid(), torch.full_like(blank.logits, 0.01))
    assert not blank.offsets.any()
    assert ((output.logits.sigmoid() > 0.005) & (output.logits.sigmoid() < 0.02)).all()
    assert output.offsets.abs().max() < 0.5


def test_every_parameter_learns() -> None:
    head = make_head()
    output = head(random_pyramid(2))
    (output.logits.square().sum() + (output.offsets - 1).square().sum()).backward()
    still = [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_tower_is_shared_and_its_statistics_are_not() -> None:
    head = make_filled_head()
    assert sum(isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) for module in head.modules()) == 2
    block = head.tower[0]
    assert isinstance(block, SharedConv)
    features = random_images(1, (4, 6), channels=CHANNELS)
    with torch.no_grad():
        answers = [block(features, level) for level in range(3)]
    assert (answers[0] - answers[1]).abs().max() > 0.1
    assert (answers[1] - answers[2]).abs().max() > 0.1


def test_training_updates_the_statistics_of_its_own_level() -> None:
    block = SharedConv(CHANNELS, num_levels=2).train()
    block(random_images(2, (4, 6), channels=CHANNELS), 1)
    assert [norm.get_buffer("num_batches_tracked").item() for norm in block.norms] == [0, 1]


def test_folded_head_answers_the_same() -> None:
    head = make_filled_head()
    pyramid = random_pyramid(2)
    assert num_batch_norms(head) == 2 * 3
    with torch.no_grad():
        expected = head(pyramid)
        fold_batch_norm(head)
        output = head(pyramid)
        fold_batch_norm(head)
        again = head(pyramid)
    assert expected.logits.std() > 0.1
    assert num_batch_norms(head) == 0
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)
    assert torch.equal(again.logits, output.logits)
    assert torch.equal(again.offsets, output.offsets)


def test_batch_of_two_equals_two_singles() -> None:
    head, pyramid = make_filled_head(), random_pyramid(2)
    with torch.no_grad():
        together = head(pyramid)
        singles = [head([features[[row]] for features in pyramid]) for row in range(2)]
    torch.testing.assert_close(together.logits, torch.cat([s.logits for s in singles]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together.offsets, torch.cat([s.offsets for s in singles]), rtol=0, atol=1e-5)
    assert (together.logits[0] - together.logits[1]).abs().max() > 0.1

"""The head that looks at the whole image: pooling without padding, its start, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backbone.inception import fold_batch_norm
from proposals.bipartite import match_bipartite
from proposals.box_ops import paired_iou
from proposals.global_coder import decode_corners, normalize
from proposals.global_head import GlobalMultiBoxHead, bin_shares, pool_images
from proposals.global_loss import ALPHA, global_multibox_loss
from proposals.global_priors import fit_global_priors
from tests.backbone.networks import fill_parameters, num_batch_norms, random_images
from tests.proposals.boxes import random_boxes

CHANNELS = 6
STRIDE = 32
NUM_PRIORS = 10


def make_head(num_priors: int = NUM_PRIORS, dropout: float = 0.0) -> GlobalMultiBoxHead:
    return GlobalMultiBoxHead(CHANNELS, stride=STRIDE, num_priors=num_priors, hidden=32, dropout=dropout)


def make_filled_head() -> GlobalMultiBoxHead:
    """Every number drawn."""
    head = make_head()
    fill_parameters(head)
    return head.eval()


def test_bin_shares_by_hand() -> None:
    """2.5 cells in two bins of 1.25: cell 0 and a quarter of 1; three quarters of 1 and half of 2; cell 3 is padding.

    3 cells in two bins of 1.5.
    """
    shares = bin_shares(torch.tensor([2.5, 3.0]), num_bins=2, num_cells=4)
    expected = torch.tensor([
        [[0.8, 0.2, 0.0, 0.0], [0.0, 0.6, 0.4, 0.0]],
        [[2 / 3, 1 / 3, 0.0, 0.0], [0.0, 1 / 3, 2 / 3, 0.0]],
    ])  # fmt: skip
    torch.testing.assert_close(shares, expected)


@pytest.mark.parametrize("length", [0.1, 1.0, 3.7, 9.0])
def test_shares_of_a_bin_add_to_one(length: float) -> None:
    shares = bin_shares(torch.tensor([length]), num_bins=4, num_cells=9)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(1, 4))


def test_even_bins_pool_as_torch_does() -> None:
    features = random_images(2, (8, 12), channels=CHANNELS)
    pooled = pool_images(features, [(8 * STRIDE, 12 * STRIDE)] * 2, stride=STRIDE, num_bins=4)
    torch.testing.assert_close(pooled, torch.nn.functional.adaptive_avg_pool2d(features, 4))


def test_rows_are_heights_and_columns_are_widths() -> None:
    """The image is the upper half of the map: its cells hold 1 left and 2 right; the padding below holds 100."""
    features = torch.full((1, 1, 4, 4), 100.0)
    features[0, 0, :2] = torch.tensor([1.0, 1.0, 2.0, 2.0])
    pooled = pool_images(features, [(2 * STRIDE, 4 * STRIDE)], stride=STRIDE, num_bins=2)
    assert pooled[0, 0].tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize("size_hw", [(4, 6), (1, 1), (2, 9), (13, 12)])
def test_features_of_any_size(size_hw: tuple[int, int]) -> None:
    sizes_hw = [(size_hw[0] * STRIDE, size_hw[1] * STRIDE), (1, 1)]
    output = make_head()(random_images(2, size_hw, channels=CHANNELS), sizes_hw)
    assert output.logits.shape == (2, NUM_PRIORS)
    assert output.offsets.shape == (2, NUM_PRIORS, 4)
    assert output.logits.isfinite().all()
    assert output.offsets.isfinite().all()


def test_answers_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = make_head()(random_images(2, (4, 6), channels=CHANNELS), [(128, 192)] * 2)
    assert (output.logits.dtype, output.offsets.dtype) == (torch.float32, torch.float32)


def test_a_head_in_half_precision_answers_in_float32() -> None:
    head = make_head().eval().to(torch.bfloat16)
    with torch.no_grad():
        output = head(random_images(1, (4, 6), channels=CHANNELS).to(torch.bfloat16), [(128, 192)])
    assert (output.logits.dtype, output.offsets.dtype) == (torch.float32, torch.float32)


def test_every_prior_starts_as_itself_with_one_percent() -> None:
    head = make_head().eval()
    with torch.no_grad():
        blank = head(torch.zeros(1, CHANNELS, 4, 6), [(128, 192)])
        output = head(random_images(4, (4, 6), channels=CHANNELS), [(128, 192)] * 4)
    torch.testing.assert_close(blank.logits.sigmoid(), torch.full_like(blank.logits, 0.01))
    assert not blank.offsets.any()
    assert ((output.logits.sigmoid() > 0.005) & (output.logits.sigmoid() < 0.02)).all()
    assert 0 < output.offsets.abs().max() < 1  # less than 1 % of the image


def test_every_parameter_learns() -> None:
    head = make_head()
    output = head(random_images(2, (4, 6), channels=CHANNELS), [(128, 192), (100, 150)])
    (output.logits.square().sum() + (output.offsets - 1).square().sum()).backward()
    still = [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_each_place_is_told_apart() -> None:
    """A spot that moves by a quarter of the image changes the answer."""
    head, answers = make_filled_head(), []
    for column in range(4):
        features = torch.zeros(1, CHANNELS, 4, 4)
        features[:, :, 1, column] = 3.0
        with torch.no_grad():
            answers.append(head(features, [(128, 128)]).offsets)
    for left in range(3):
        assert (answers[left] - answers[left + 1]).abs().max() > 0.05


def test_batch_of_two_equals_two_singles() -> None:
    """Of different sizes: in the batch the smaller image lies in a larger map than alone, the rest of it noise."""
    head, features = make_filled_head(), random_images(2, (6, 8), channels=CHANNELS)
    sizes_hw = [(192, 256), (100, 140)]
    with torch.no_grad():
        together = head(features, sizes_hw)
        singles = [head(features[[0]], sizes_hw[:1]), head(features[[1], :, :4, :5], sizes_hw[1:])]
    torch.testing.assert_close(together.logits, torch.cat([s.logits for s in singles]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together.offsets, torch.cat([s.offsets for s in singles]), rtol=0, atol=1e-5)
    assert (together.logits[0] - together.logits[1]).abs().max() > 0.1


def test_folded_head_answers_the_same() -> None:
    head, features = make_filled_head(), random_images(2, (4, 6), channels=CHANNELS)
    with torch.no_grad():
        expected = head(features, [(128, 192)] * 2)
        fold_batch_norm(head)
        output = head(features, [(128, 192)] * 2)
    assert num_batch_norms(head) == 0
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)


def test_dropout_is_for_training() -> None:
    head, features = make_head(dropout=0.5), random_images(2, (4, 6), channels=CHANNELS)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        first, second = (head(features, [(128, 192)] * 2).offsets for _ in range(2))
        head.eval()
        third, fourth = (head(features, [(128, 192)] * 2).offsets for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(third, fourth)


@pytest.mark.parametrize("use_priors", [False, True])
def test_a_batch_is_learnt(use_priors: bool) -> None:
    """Matching, loss and head together: after some steps the matched priors lie on the objects, and are certain."""
    image_size_hw = (128, 192)
    features = random_images(4, (4, 6), channels=CHANNELS)
    gt_boxes = [
        normalize(random_boxes(count, image_size_hw, seed=count, min_size=40), image_size_hw) for count in (1, 2, 0, 3)
    ]
    priors = fit_global_priors(torch.cat(gt_boxes).flip(0).numpy() * 0.8 + 0.1, num_priors=NUM_PRIORS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = make_head()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    totals, boxes, matches = [], torch.empty(0), list[Tensor]()
    for _ in range(150):
        output = head(features, [image_size_hw] * 4)
        boxes = decode_corners(output.offsets.detach(), priors)
        matches = [
            match_bipartite(
                boxes[row],
                output.logits[row],
                gt_boxes[row],
                torch.zeros(len(gt_boxes[row]), dtype=torch.bool),
                alpha=ALPHA,
                priors_norm=priors if use_priors else None,
            )
            for row in range(4)
        ]
        losses = global_multibox_loss(output, priors, gt_boxes, matches)
        optimizer.zero_grad()
        (losses.localization + losses.confidence).backward()
        optimizer.step()
        totals.append((losses.localization + losses.confidence).item())
    assert totals[-1] < 0.05 * totals[0]
    for row, match in enumerate(matches):
        found = match >= 0
        assert found.sum() == len(gt_boxes[row])
        assert (paired_iou(boxes[row][found], gt_boxes[row][match[found]]) > 0.8).all()
        assert torch.equal(output.logits[row] > 0, found)

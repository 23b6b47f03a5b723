"""The batched ensemble against members one by one."""

from __future__ import annotations

import torch

from detection.ensemble import MemberHeads, draw_member_samples, mean_offsets, mean_probabilities


def test_batched_members_equal_single_ones() -> None:
    heads = MemberHeads(8, 3, members=4, hidden=5, box_regression=True)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(2, 6, 8)  # two contexts, six RoIs
    output = heads(features)
    assert output.offsets is not None
    assert heads.offset_weight is not None
    assert heads.offset_bias is not None
    for member in range(4):
        hidden = torch.relu(features[member % 2] @ heads.hidden_weight[member] + heads.hidden_bias[member])
        logits = hidden @ heads.logit_weight[member] + heads.logit_bias[member]
        offsets = hidden @ heads.offset_weight[member] + heads.offset_bias[member]
        torch.testing.assert_close(output.logits[member], logits)
        torch.testing.assert_close(output.offsets[member], offsets.view(6, 3, 4))


def test_without_box_regression() -> None:
    assert MemberHeads(8, 3, members=2, hidden=5, box_regression=False)(torch.randn(1, 6, 8)).offsets is None


def test_no_rois() -> None:
    output = MemberHeads(8, 3, members=2, hidden=5, box_regression=True)(torch.zeros(1, 0, 8))
    assert output.logits.shape == (2, 0, 4)
    assert output.offsets is not None
    assert output.offsets.shape == (2, 0, 3, 4)


def test_mean_is_taken_of_probabilities_not_of_logits() -> None:
    # Member 1 is sure of class 0 (p = 1), member 2 says 1/2 each: the mean is (0.75, 0.25).
    logits = torch.tensor([[[100.0, 0.0]], [[0.0, 0.0]]])
    torch.testing.assert_close(mean_probabilities(logits), torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(mean_offsets(torch.tensor([[[[0.0] * 4]], [[[2.0] * 4]]])), torch.tensor([[[1.0] * 4]]))


def test_member_samples() -> None:
    samples = draw_member_samples(6, 1000, fraction=0.8, generator=torch.Generator().manual_seed(0))
    assert samples.shape == (6, 1000)
    assert (samples.float().mean(dim=1) - 0.8).abs().max() < 0.05
    assert not torch.equal(samples[0], samples[1])
    assert draw_member_samples(2, 9, fraction=1.0, generator=torch.Generator()).all()

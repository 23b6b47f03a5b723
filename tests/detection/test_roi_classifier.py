"""Each member sees the region enlarged by its own context."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from detection.roi_classifier import FILLED_TO, RoiClassifier, RoiClassifierSettings

SETTINGS = RoiClassifierSettings(
    members=3, contexts=(1.0, 1.5), pool_size=5, hidden=16, member_hidden=8, box_regression=True
)
STRIDES = (8, 16)


def make_classifier(settings: RoiClassifierSettings) -> RoiClassifier:
    return RoiClassifier(4, 2, strides=STRIDES, settings=settings).eval()


def only_member(classifier: RoiClassifier, member: int) -> RoiClassifier:
    """A classifier of one context, the region itself, that has this member's weights and no other's."""
    alone = make_classifier(replace(SETTINGS, members=1, contexts=(1.0,)))
    own = {k: v[member : member + 1] if k.startswith("heads.") else v for k, v in classifier.state_dict().items()}
    alone.load_state_dict(own)
    return alone


@torch.inference_mode()
def test_members_see_the_contexts_in_turn() -> None:
    torch.manual_seed(0)
    classifier = make_classifier(SETTINGS)
    torch.nn.init.normal_(classifier.heads.logit_weight)
    pyramid = [torch.randn(2, 4, 96 // stride, 96 // stride) for stride in STRIDES]
    boxes = [
        torch.tensor([[30.0, 40.0, 50.0, 60.0], [40.0, 20.0, 48.0, 60.0]]),
        torch.tensor([[24.0, 24.0, 64.0, 48.0]]),
    ]
    # Half as wide and half as high again around the same centre, by hand.
    wide = [
        torch.tensor([[25.0, 35.0, 55.0, 65.0], [38.0, 10.0, 50.0, 70.0]]),
        torch.tensor([[14.0, 18.0, 74.0, 54.0]]),
    ]
    logits, offsets = classifier(pyramid, boxes)
    assert logits.shape == (3, 3, 3)
    for member, seen in enumerate((boxes, wide, boxes)):
        expected = only_member(classifier, member)(pyramid, seen)
        torch.testing.assert_close(logits[member], expected.logits[0])
        torch.testing.assert_close(offsets[member], expected.offsets[0])
        other = only_member(classifier, member)(pyramid, wide if seen is boxes else boxes)
        assert (logits[member] - other.logits[0]).abs().min() > 1e-4


@torch.inference_mode()
def test_detection_judges_few_different_numbers_of_regions_and_answers_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    classifier = make_classifier(SETTINGS)
    torch.nn.init.normal_(classifier.heads.logit_weight)
    pyramid = [torch.randn(1, 4, 96 // stride, 96 // stride) for stride in STRIDES]
    boxes = torch.rand(60, 4) * 40
    boxes[:, 2:] += boxes[:, :2] + 4
    judge, seen = classifier.judge, []
    monkeypatch.setattr(classifier, "judge", lambda pooled: seen.append(len(pooled)) or judge(pooled))
    every = classifier(pyramid, [boxes])
    for count in (0, 1, 20, FILLED_TO, FILLED_TO + 1, 2 * FILLED_TO, 60):
        logits, offsets = classifier(pyramid, [boxes[:count]])
        torch.testing.assert_close(logits, every.logits[:, :count])
        torch.testing.assert_close(offsets, every.offsets[:, :count])
    assert set(seen) == {0, 2 * FILLED_TO, 4 * FILLED_TO, 6 * FILLED_TO}  # two contexts
    assert len(classifier.train()(pyramid, [boxes]).logits[0]) == 60
    assert seen[-1] == 2 * 60  # training draws as many regions every time, and zeros would go into its statistics

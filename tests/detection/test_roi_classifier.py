"""Each member sees the region enlarged by its own context."""

from __future__ import annotations

from dataclasses import replace

import torch

from detection.roi_classifier import RoiClassifier, RoiClassifierSettings

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

"""A training that takes a moment: a tiny data set, a tiny network, one pass."""

from __future__ import annotations

from pathlib import Path

from tests.builders import toy_images, write_voc
from tests.tools.running import run_main

TINY = [
    "--set=input.longest_side=64",
    "--set=pyramid.channels=8",
    "--set=proposals.candidates=50",
    "--set=proposals.num_train=16",
    "--set=proposals.num_detect=10",
    "--set=classifier.hidden=16",
    "--set=classifier.member_hidden=8",
    "--set=classifier.rois_per_image=8",
    "--set=postprocess.score_threshold=0",
    "--set=train.batch_size=2",
    "--set=train.precision=float32",
    "--set=train.device=cpu",
]


def write_toy(root: Path) -> Path:
    """Writes a VOC data set with the parts trainval (four images) and test (three)."""
    return write_voc(root, {"trainval": toy_images(4), "test": toy_images(3, prefix="test", seed=1)})


def train_toy(data: Path, out: Path) -> Path:
    """Trains for one pass; returns the model file."""
    assert run_main("train", data, "--out", out, "--epochs", 1, *TINY) == 0
    return out / "model.safetensors"

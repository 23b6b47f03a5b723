"""What only real training shows: a detector that learns its images by heart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detection.data.demo import build_demo_set
from tests.tools.running import run_main as run


@pytest.mark.slow
def test_overfits_eight_images(tmp_path: Path) -> None:
    build_demo_set(tmp_path / "data", num_train=8, num_test=1, image_size_hw=(128, 160))
    settings = {
        "input.longest_side": 160,
        "augment.horizontal_flip": 0,
        "augment.scale": "[1, 1]",
        "train.batch_size": 4,
        "train.low_resolution.fraction": 0,
        "train.ema_decay": 0.95,
        "train.device": "cpu",
    }
    options = [f"--set={name}={value}" for name, value in settings.items()]
    model = tmp_path / "run" / "model.safetensors"
    assert run("train", tmp_path / "data", "--out", tmp_path / "run", "--epochs", 80, *options) == 0
    assert run("evaluate", model, tmp_path / "data", "--split", "trainval", "--out", tmp_path / "report") == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["coco"]["AP50"] >= 0.99

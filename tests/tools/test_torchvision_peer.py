"""The peer that models are measured beside: it learns, and its boxes lie in the pixels of its image."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from tests.builders import CLASS_NAMES, random_pixels, toy_images, write_voc
from tests.detection.tiny import save_tiny_model
from tests.tools.running import run_command
from tools.measure import beside_torchvision as command
from tools.measure.torchvision_peer import BATCH_SIZE, peer_proposals

run = partial(run_command, command.beside_torchvision)


@pytest.mark.parametrize("size_hw", [(160, 400), (900, 500)])
def test_its_proposals_reach_over_the_whole_image_and_no_further(size_hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=4).eval()
    found = peer_proposals(network, random_pixels(size_hw))
    height, width = size_hw
    assert found.image_size_hw == size_hw
    assert 0 < len(found) <= 150
    assert found.boxes.min() >= 0
    assert 0.9 * width < found.boxes[:, 2].max() <= width + 0.01
    assert 0.9 * height < found.boxes[:, 3].max() <= height + 0.01


@pytest.mark.slow
def test_both_are_trained_on_the_same_data_and_measured_in_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny_model(tmp_path / "model.safetensors", names=CLASS_NAMES)
    data = write_voc(tmp_path / "toy", {"train": toy_images(BATCH_SIZE), "test": toy_images(2)})
    assert run(model, data, "--minutes", 0.05) == 0
    told = capsys.readouterr().out
    assert int(told.split("peer: ")[1].split(" steps")[0]) > 0
    rows = [line.split("│")[1:-1] for line in told.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows][:3] == ["AP", "AP50", "recall@50"]
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)

"""Members asked alone say what they say within the ensemble."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from configs.load import config_from_dict
from configs.schema import Config
from detection.build import load_detector
from detection.checkpoint import ModelHeader, save_model
from tests.builders import CLASS_NAMES, random_pixels, toy_images, write_voc
from tests.detection.lively import liven_heads
from tests.detection.tiny import tiny_config, tiny_network
from tests.tools.running import run_command
from tools.measure import members as command

run = partial(run_command, command.members)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Three members that see two contexts, and three of a second look, with weights large enough to differ."""
    document = tiny_config().model_dump(mode="json")
    document["classifier"] |= {"members": 3, "contexts": [1.0, 1.5]}
    config = config_from_dict(document, schema=Config)
    network = tiny_network(config)
    assert network.multibox is not None
    network.multibox.prior_sizes.fill_(24.0)
    liven_heads(network, logits=1.0, offsets=0.001)
    path = tmp_path / "model.safetensors"
    save_model(path, network.state_dict(), ModelHeader(config.model_dump(mode="json"), CLASS_NAMES, (1, 2, 3)))
    return path


def test_a_look_says_the_mean_of_what_its_members_say_alone(model: Path) -> None:
    image = random_pixels((70, 96), seed=3)
    _, together = command.look_once(model).judge(image)
    _, with_second = load_detector(model).judge(image)
    assert np.abs(with_second.probabilities.numpy() - together.probabilities.numpy()).max() > 0.01
    alone = []
    for member in range(3):
        detector = command.ask_one(model, member)
        _, judgement = detector.judge(image)
        alone.append(judgement.probabilities.numpy())
    assert np.abs(alone[0] - alone[1]).max() > 0.01
    np.testing.assert_allclose(
        np.mean(alone, axis=0), together.probabilities.numpy(), atol=0.02
    )  # bfloat16 where the machine has it


def test_a_row_for_each_member_their_mean_and_all(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_voc(tmp_path / "toy", {"test": toy_images(3)})
    assert run(model, data) == 0
    told = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in told.splitlines() if line.startswith("│")]
    assert [row[:2] for row in rows] == [
        ["member 1", "1"],
        ["member 2", "1.5"],
        ["member 3", "1"],
        ["mean of one", ""],
        ["first look, 3", ""],
        ["all 6", ""],
    ]
    assert "median of pairs" in told

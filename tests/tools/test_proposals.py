"""The command that measures proposals, of a model and of a method."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from detection.build import load_detector
from detection.proposing import FirstStage
from proposals.multibox import InputSizes
from proposals.structures import Proposals
from tests.builders import random_pixels, toy_images, write_voc
from tests.detection.tiny import save_tiny_model
from tests.tools.running import run_command
from tools import proposals as command

run = partial(run_command, command.proposals)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model: when it detects, at most 20 proposals an image, from its 100 best priors."""
    return save_tiny_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voc(tmp_path_factory.mktemp("data") / "toy", {"test": toy_images(3)})


def test_the_first_stage_alone_gives_more_of_the_same(model: Path) -> None:
    detector = load_detector(model, device="cpu", precision="float32")
    image = random_pixels((70, 90))
    usual = detector.answer([image])[0].proposals
    many = FirstStage(detector, max_proposals=2000).propose(image)
    assert 0 < len(usual) <= 20
    assert 30 < len(many) <= 2000
    assert torch.equal(many.boxes[: len(usual)], usual.boxes)
    assert torch.equal(many.scores[: len(usual)], usual.scores)
    assert many.image_size_hw == (70, 90)
    assert len(FirstStage(detector, max_proposals=30).propose(image)) == 30
    assert torch.equal(detector.answer([image])[0].proposals.boxes, usual.boxes)  # the detector is as it was


def test_an_image_may_have_no_proposals(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = load_detector(model, device="cpu", precision="float32")
    none = Proposals(torch.zeros(0, 4), torch.zeros(0), (1, 96))
    stage = FirstStage(detector, max_proposals=30)
    monkeypatch.setattr(stage, "_learned", lambda image: none)
    assert len(stage.propose(random_pixels((1, 96)))) == 0


def test_priors_lie_in_the_pixels_of_the_image(model: Path) -> None:
    detector = load_detector(model, device="cpu", precision="float32")
    stage = FirstStage(detector, max_proposals=1)
    assert detector.network.multibox is not None
    inside = detector.network.multibox.priors(InputSizes((64, 96), [(64, 96)]))
    assert torch.equal(stage.priors((64, 96)), inside)  # the size of the input
    assert torch.allclose(stage.priors((128, 192)), 2 * inside)
    # 50 rows are padded to 64 at the bottom: no place moves.
    assert torch.equal(stage.priors((50, 96)), inside)


def test_a_model_is_measured(model: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, toy, "--out", tmp_path) == 0
    numbers = json.loads((tmp_path / "proposals.json").read_text())
    assert numbers["num_images"] == 3
    assert numbers["num_objects"]["all"] == 5  # classes bird, cat and dog, of which the model knows none but two
    assert numbers["num_ignored"] == 1
    assert numbers["proposals"]["10"]["boxes_per_image"] == 10
    assert numbers["proposals"]["all"]["boxes_per_image"] > 30
    assert 0 <= numbers["coverage"]["recall"] <= 1
    assert numbers["priors"]["boxes_per_image"] > 100
    assert 0 < numbers["seconds_per_image"]["median"] < 60
    assert "backbone" in numbers["context"]["time includes"]
    assert "<html" in (tmp_path / "proposals.html").read_text()
    told = capsys.readouterr().out
    for text in ("priors", "coverage", "time an image", "proposals.html"):
        assert text in told


def test_methods_are_measured(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_voc(tmp_path / "one", {"test": toy_images(1)})
    numbers = {}
    for name, options in {
        "selective-search": ["--max", 15],
        "selective-search-single": ["--superpixel-scale", 4],
        "combined": ["--model", model],
    }.items():
        assert run(name, one, "--out", tmp_path / name, *options) == 0
        numbers[name] = json.loads((tmp_path / name / "proposals.json").read_text())
        assert numbers[name]["priors"] is None
    assert numbers["selective-search"]["proposals"]["all"]["boxes_per_image"] <= 15
    assert numbers["selective-search-single"]["context"]["superpixel scale"] == "4"
    assert numbers["combined"]["context"]["superpixel scale"] == "2"
    assert numbers["combined"]["proposals"]["all"]["boxes_per_image"] > 30  # MultiBox's are among them
    assert "segmentation, grouping" in capsys.readouterr().out


def test_methods_that_cannot_be_opened_say_why(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("selectivesearch", toy, "--out", tmp_path) == 2
    told = capsys.readouterr().err
    assert "selectivesearch: no such model; give" in told
    assert "one of selective-search, " in told
    assert run("combined", toy, "--out", tmp_path) == 2
    assert "name the model whose MultiBox is added with --model" in capsys.readouterr().err


def test_an_unreadable_image_enters_no_number(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_voc(tmp_path / "data", {"test": toy_images(3)})
    path = root / "JPEGImages" / "image2.jpg"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    assert run(model, root, "--out", tmp_path / "out") == 0
    numbers = json.loads((tmp_path / "out" / "proposals.json").read_text())
    assert numbers["num_images"] == 2
    assert list(numbers["failed_images"]) == ["image2.jpg"]
    assert "not read:" in capsys.readouterr().out


def test_wrong_input_is_answered_in_words(model: Path, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gone.safetensors", toy, "--out", "out") == 2
    assert "gone.safetensors: no such model" in capsys.readouterr().err
    assert run(model, toy, "--out", "out", "--split", "tset") == 2
    assert "test" in capsys.readouterr().err

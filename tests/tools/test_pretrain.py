"""The commands around classifiers, from a folder of pictures to a detector's start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.load import dump_config
from tests.builders import toy_images, write_voc
from tests.classification.pictures import class_files, write_folder, write_zip
from tests.detection.tiny import tiny_config
from tests.tools.running import run_main as run

SMALL = [
    "--set=input.sides=[[0.0, 32]]",
    "--set=train.batch_size=6",
    "--set=train.precision=float32",
    "--set=train.device=cpu",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {**class_files("train/", 2), **class_files("val/", 1, first_seed=9), "train/red/bad.png": b"junk"}
    return write_zip(tmp_path_factory.mktemp("data") / "pictures.zip", files)


@pytest.fixture(scope="module")
def pretrained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pre"
    assert run("pretrain", pictures, "--out", out, "--epochs", 1, "--note", "free to use", *SMALL) == 0
    return out


def test_pretrain_classify_info_and_a_detector_on_top(
    pictures: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "errors.json"
    assert run("classify", pretrained, pictures, "--crops", 1, "--json", numbers, "--device", "cpu") == 0
    assert json.loads(numbers.read_text())["images"] == 3
    assert run("info", pretrained) == 0
    told = capsys.readouterr().out
    for text in ("a classifier", "3 classes", "variant.block: reduced", "recipe.train", "free to use"):
        assert text in told
    toy = write_voc(tmp_path / "toy", {"trainval": toy_images(2)})
    tiny = ["--set=input.longest_side=64", "--set=train.device=cpu", "--set=train.precision=float32", "--epochs", 1]
    start = f"--set=backbone.weights={pretrained / 'model.safetensors'}"
    assert run("train", toy, "--out", tmp_path / "run", start, *tiny) == 0
    assert run("train", toy, "--out", tmp_path / "lrn", start, "--set=backbone.norm=lrn", *tiny) == 2
    assert "this network is Variant(block='reduced', norm='lrn'" in capsys.readouterr().err


def test_what_was_left_out_is_told(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pretrain", pictures, "--out", tmp_path / "run", "--epochs", 1, *SMALL) == 0
    told = capsys.readouterr().out
    assert "left out: train/red/bad.png: not an image" in told
    assert "6 images to learn from, 3 to judge, 3 classes" in told
    assert "validation after step 1: top1" in told


def test_wrong_input_is_told_before_anything_is_decoded(
    pictures: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("pretrain", pictures, "--out", out, "--minutes", 1, "--epochs", 1) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert run("pretrain", pictures, "--out", out, "--set=train.device=cuda:7") == 2
    assert "device 'cuda:7' is not available" in capsys.readouterr().err
    assert run("pretrain", pictures, "--out", out, "--set=network.bloc=naive") == 2
    assert "did you mean network.block?" in capsys.readouterr().err
    assert not out.exists()
    assert run("pretrain", pictures, "--out", pretrained, *SMALL) == 2
    assert "holds a run already; add --resume" in capsys.readouterr().err


def test_resume_without_a_state_is_told(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pretrain", pictures, "--out", tmp_path / "run", "--epochs", 1, "--resume", *SMALL) == 0
    assert "no saved state; starts at step 0" in capsys.readouterr().out


def test_recipes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "paper") == 0
    assert "network.norm" in (told := capsys.readouterr().out)
    assert "preset paper" in told


def test_benchmark_tells_both_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_folder(tmp_path / "d", {**class_files("train/", 2), **class_files("val/", 2)})
    assert run("benchmark", "googlenet", data, "--steps", 1, *SMALL) == 0
    told = capsys.readouterr().out
    for text in ("bare forward and backward", "whole training", "share: ", "views", "backward", "optimizer", "average"):
        assert text in told
    assert run("benchmark", "googlenet") == 2
    assert "name the data set" in capsys.readouterr().err


def test_benchmark_of_a_detectors_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_voc(tmp_path / "toy", {"train": toy_images(4)})
    (tmp_path / "tiny.yaml").write_text(dump_config(tiny_config()))
    assert run("benchmark", tmp_path / "tiny.yaml", data, "--training", "--steps", 1) == 0
    told = capsys.readouterr().out
    for text in ("batches of 2 at 96 x", "bare forward and backward", "share: ", "views", "forward", "the rest"):
        assert text in told
    assert run("benchmark", "default", "--training") == 2
    assert "default: name the data set" in capsys.readouterr().err

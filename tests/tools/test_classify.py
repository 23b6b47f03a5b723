"""The command that measures classifiers: what it prints and writes, and what it says to wrong input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from backbone.googlenet import GoogLeNet
from backbone.variant import Variant
from detection.classification.classifier import ClassifierHeader, load_classifier, preprocessing_of, save_classifier
from detection.classification.packed import PackedImages, pack_part
from detection.errors import InputError
from tests.builders import save_image
from tests.tools.running import run_command
from tools import classify as command
from tools import reading

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
COLOURS = (20, 60, 100, 140, 180, 220)


class PlainClassifier:
    """Knows the classes by the brightness of a crop; two classes it takes for their neighbour."""

    def __init__(self, class_names: Sequence[str], wrong: Sequence[int] = (), side: int = 32) -> None:
        self.class_names = tuple(class_names)
        self.side = side
        self.wrong = wrong

    def probabilities(self, crops: npt.NDArray[np.uint8]) -> Tensor:
        distances = np.abs(crops.mean(axis=(1, 2, 3))[:, None] - np.array(COLOURS[: len(self.class_names)]))
        labels = [label + (label in self.wrong) for label in distances.argmin(axis=1).tolist()]
        return torch.nn.functional.one_hot(torch.tensor(labels), len(self.class_names)).float()


run = partial(run_command, command.classify)


def write_classes(root: Path, class_names: Sequence[str], per_class: int = 2) -> Path:
    """Plain images in val/CLASS, and one of each class in train/CLASS."""
    for colour, name in zip(COLOURS, class_names, strict=False):
        for part, count in (("val", per_class), ("train", 1)):
            for number in range(count):
                pixels = np.full((40 + number, 48, 3), colour, dtype=np.uint8)
                save_image(root / part / name / f"{name}{number}.png", pixels)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data", NAMES)


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str, str]]:
    """Takes the place of model files: the stem of a file tells its faults; returns what was loaded."""
    calls: list[tuple[Path, str, str]] = []
    models = {
        "good": PlainClassifier(NAMES),
        "poor": PlainClassifier(NAMES, wrong=(0, 1, 2)),
        "large": PlainClassifier(NAMES, side=64),
        "few": PlainClassifier(NAMES[:3], wrong=(0,)),
    }

    def load(path: Path, *, device: str = "auto", precision: str = "auto") -> PlainClassifier:
        calls.append((path, device, precision))
        if path.stem not in models:
            raise InputError(f"{path}: no such file")
        return models[path.stem]

    monkeypatch.setattr(command, "load_classifier", load)
    return calls


def rows(text: str) -> list[list[str]]:
    """The cells of a printed table, without its head and rules."""
    lines = [line.replace("│", "|").split("|") for line in text.splitlines() if line.startswith(("│", "|"))]
    return [[cell.strip() for cell in line[1:-1]] for line in lines]


def test_the_table_of_the_paper(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Alone, the first model takes 3 of 6 classes for another; with the second one each of these is a tie of two
    # probabilities of 0.5, which the smaller label wins: the right one.
    assert run("poor.safetensors", "good.safetensors", data, "--crops", 10, "--device", "cpu") == 0
    shown = capsys.readouterr().out
    assert rows(shown) == [
        ["1", "1", "1", "50.00%", "base", "0.00%", "base"],
        ["1", "10", "10", "50.00%", "+0.00%", "0.00%", "+0.00%"],
        ["2", "1", "2", "0.00%", "-50.00%", "0.00%", "+0.00%"],
        ["2", "10", "20", "0.00%", "-50.00%", "0.00%", "+0.00%"],
    ]
    assert "model 1: poor.safetensors" in shown
    assert "model 2: good.safetensors" in shown
    assert f"{data} val: 12 images\n" in shown
    assert "top-1 error 0.00%, top-5 error 0.00% (2 models, 10 crops, 12 images)" in shown


def test_the_numbers_as_a_file(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "errors.json"
    assert run("poor.safetensors", data, "--json", out, "--limit", 4, "--split", "train", "--side", 48) == 0
    written = json.loads(out.read_text())
    # 4 of 6 images, one of each class: those with the labels 0, 1, 3, 4, of which the model gets 0 and 1 wrong.
    cells = [
        {"models": 1, "crops": crops, "cost": crops, "top1_error": 0.5, "top5_error": 0.0} for crops in (1, 10, 144)
    ]
    assert written == {
        "models": ["poor.safetensors"],
        "data": str(data),
        "split": "train",
        "side": 48,
        "images": 4,
        "images_in_split": 6,
        "images_left_out": 0,
        "cells": cells,
    }


def test_a_limit_is_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good.safetensors", data, "--crops", 1, "--limit", 5) == 0
    assert "val: 5 of 12 images, evenly spread over the part (--limit)" in capsys.readouterr().out
    assert run("good.safetensors", data, "--crops", 1, "--limit", 99) == 0
    assert "val: 12 images\n" in capsys.readouterr().out


def test_few_classes_have_no_top5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_classes(tmp_path / "few", NAMES[:3]), tmp_path / "errors.json"
    assert run("few.safetensors", data, "--crops", 1, "--json", out) == 0
    assert rows(capsys.readouterr().out) == [["1", "1", "1", "33.33%", "base", "n/a", "n/a"]]
    assert json.loads(out.read_text())["cells"][0]["top5_error"] is None


def test_a_model_may_be_a_folder_and_settings_reach_it(
    data: Path, tmp_path: Path, loaded: list[tuple[Path, str, str]]
) -> None:
    (tmp_path / "run").mkdir()
    assert run(tmp_path / "run", data, "--device", "cpu", "--precision", "bfloat16") == 2
    assert loaded == [(tmp_path / "run" / "model.safetensors", "cpu", "bfloat16")]


def test_decoded_images_are_kept_on_request_only(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert run("good.safetensors", data, "--crops", 1) == 0
    assert run("good.safetensors", data, "--crops", 1, "--cache", tmp_path / "kept") == 0
    assert list((tmp_path / "temporary").iterdir()) == []
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*")}
    assert kept
    first = capsys.readouterr().out
    assert run("good.safetensors", data, "--cache", tmp_path / "kept") == 0  # another number of crops, the same pack
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*")} == kept
    assert rows(capsys.readouterr().out)[:1] == rows(first)[:1]


def test_images_are_kept_large_enough_for_every_scale(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []

    def pack(data: Path, part: str, folder: Path, *, shorter_side: int, **options: object) -> PackedImages:
        kept.append(shorter_side)
        return pack_part(data, part, folder, shorter_side=shorter_side, **options)

    monkeypatch.setattr(reading, "pack_part", pack)
    assert run("good.safetensors", data, "--crops", 1, "--side", 48) == 0
    assert kept == [75]  # 48 * 352 / 224 = 75.4, though one crop needs the smallest scale only


def test_a_broken_image_is_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "val" / "ant" / "ant0.png").write_bytes(b"nothing")
    assert run("good.safetensors", data, "--crops", 1) == 0
    shown = capsys.readouterr().out
    assert "ant0.png" in shown
    assert "val: 11 images\n" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DATA"], "give one model or more, then the data set"),
        (["DATA", "good.safetensors"], "give one model or more, then the data set"),
        (["good.safetensors", "DATA", "--crops", "9"], "--crops 9: choose from 1, 10, 144"),
        (["good.safetensors", "DATA", "--split", "test"], "--split test: choose from train, val"),
        (["gone.safetensors", "DATA"], "gone.safetensors: no such file"),
        (["good.safetensors", "missing"], "missing"),
        (["good.safetensors", "few.safetensors", "DATA"], "model 2 has other classes than model 1: lacks 'dog', 'elk'"),
        (["few.safetensors", "DATA"], "the images have other classes than the models: adds 'dog', 'elk'"),
        (["good.safetensors", "large.safetensors", "DATA"], "inputs of 32 and 64 pixels; name one side"),
        (["good.safetensors"] * 8 + ["DATA"], "expected 1 to 7 models, got 8"),
    ],
)
def test_wrong_input_is_answered_in_words(
    arguments: list[str], message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*[str(data) if argument == "DATA" else argument for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_models_of_two_sides_with_one_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good.safetensors", "large.safetensors", data, "--crops", 1, "--side", 40) == 0
    assert [row[:3] for row in rows(capsys.readouterr().out)] == [["1", "1", "1"], ["2", "1", "2"]]


def test_real_models_from_file_to_numbers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "load_classifier", load_classifier)
    paths = [tmp_path / name / "model.safetensors" for name in ("a", "b")]
    for path in paths:
        variant = Variant()
        header = ClassifierHeader(vars(variant), NAMES, preprocessing_of(32), recipe={})
        save_classifier(path, GoogLeNet(len(NAMES), variant=variant), header)
    out = tmp_path / "errors.json"
    arguments = [*(path.parent for path in paths), data, "--crops", 10, "--device", "cpu", "--precision", "float32"]
    assert run(*arguments, "--json", out) == 0
    assert "(2 models, 10 crops, 12 images)" in capsys.readouterr().out
    # All crops of a plain image are alike, so every number of crops answers as one crop does.
    crops = np.stack([np.full((32, 32, 3), colour, dtype=np.uint8) for colour in COLOURS])
    answers = [load_classifier(path, device="cpu", precision="float32").probabilities(crops) for path in paths]
    means = [answers[0], (answers[0] + answers[1]) / 2]
    errors = [float((mean.argmax(dim=1) != torch.arange(6)).float().mean()) for mean in means]
    cells = json.loads(out.read_text())["cells"]
    assert [cell["top1_error"] for cell in cells] == pytest.approx([error for error in errors for _ in range(2)])

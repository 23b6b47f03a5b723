"""``--tile``, ``--tta`` and several models, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import toy_images, write_coco
from tests.detection.tiny import CLASSES, save_tiny_model
from tests.tools.running import run_command
from tools.detect import detect
from tools.evaluate import evaluate

COMMANDS = {"detect": detect, "evaluate": evaluate}


def run(command: str, *arguments: object) -> int:
    """Runs a command in this process; returns its exit code."""
    return run_command(COMMANDS[command], *arguments)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    a, b = (save_tiny_model(folder / f"{name}.safetensors", seed=ord(name), lowest_score=0.0) for name in "ab")
    assert a.read_bytes() != b.read_bytes()
    return a, b


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = toy_images(3, class_names=CLASSES)
    ids = {name: number for number, name in enumerate(CLASSES, start=1)}
    return write_coco(tmp_path_factory.mktemp("data") / "toy", {"test": images}, ids)


def test_everything_at_once_and_resuming_it(
    models: tuple[Path, Path], toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = toy / "test", tmp_path / "out"
    passes = ["--tile", 48, "--tta", "--device", "cpu"]
    assert run("detect", *models, photos, "--out", out, *passes) == 0
    assert f"model 2: {models[1]}" in capsys.readouterr().out
    whole = (out / "detections.json").read_bytes()
    assert json.loads(whole)
    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    header = json.loads(lines[0])
    assert (header["tile"], header["tta"], len(header["model"].split())) == ("48", "yes", 2)
    for other in ([*models, photos], [*models, photos, *passes[:2]], [models[0], photos, *passes]):
        assert run("detect", *other, "--out", out, "--resume") == 2
        assert "was written with" in capsys.readouterr().err
    (out / "journal.jsonl").write_bytes(b"".join(lines[:3]))
    assert run("detect", *models, photos, "--out", out, "--resume", *passes) == 0
    assert (out / "detections.json").read_bytes() == whole


def test_the_journal_of_a_single_pass_is_as_before(models: tuple[Path, Path], toy: Path, tmp_path: Path) -> None:
    assert run("detect", models[0], toy / "test", "--out", tmp_path) == 0
    header = json.loads((tmp_path / "journal.jsonl").read_bytes().splitlines()[0])
    assert set(header) == {"journal", "model", "source"}


def test_a_cache_that_nothing_is_kept_in_is_told(
    models: tuple[Path, Path], toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache", tmp_path / "kept"]
    assert run("detect", models[0], toy / "test", "--out", tmp_path / "out", *cache) == 0
    assert "note: --cache has no effect here" in capsys.readouterr().out


def test_a_model_twice_answers_as_once(models: tuple[Path, Path], toy: Path, tmp_path: Path) -> None:
    assert run("detect", models[0], toy / "test", "--out", tmp_path / "once", "--device", "cpu") == 0
    assert run("detect", models[0], models[0], toy / "test", "--out", tmp_path / "twice", "--device", "cpu") == 0
    once, twice = (json.loads((tmp_path / name / "detections.json").read_text()) for name in ("once", "twice"))
    key = ("image_id", "category_id", "score", "bbox")
    assert sorted([row[k] for k in key] for row in once) == sorted([row[k] for k in key] for row in twice)


@pytest.mark.parametrize("passes", [["--tile", 32], ["--tta"]])
def test_evaluation_equals_that_of_the_detections(
    passes: list[object], models: tuple[Path, Path], toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("detect", models[0], toy / "test", "--out", tmp_path / "found", *passes) == 0
    assert run("evaluate", models[0], toy, "--out", tmp_path / "model", *passes) == 0
    assert run("evaluate", tmp_path / "found" / "detections.json", toy, "--out", tmp_path / "file") == 0
    by_model, by_file = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("model", "file"))
    assert by_model["coco"] == by_file["coco"]
    assert by_model["num_detections"] == by_file["num_detections"] > 0
    assert by_model["proposals"] == {}
    assert ("32 pixels" if "--tile" in passes else "mirror image") in (tmp_path / "model" / "report.html").read_text()
    assert "had no effect" not in capsys.readouterr().out


def test_options_without_effect_are_told(
    models: tuple[Path, Path], toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("detect", models[0], toy / "test", "--out", tmp_path / "found", "--tile", 64) == 0
    assert "--tile 64 had no effect: the longest side of an image is 64 pixels" in capsys.readouterr().out
    assert run("evaluate", models[0], toy, "--out", tmp_path / "report", "--tile", 64) == 0
    assert "--tile 64 had no effect" in capsys.readouterr().out
    results = tmp_path / "found" / "detections.json"
    assert run("evaluate", results, toy, "--out", tmp_path / "again", "--tile", 64, "--tta") == 0
    assert "--tile and --tta had no effect" in capsys.readouterr().out
    rest = ["--engine", "onnx", "--cache", tmp_path / "c", "--drop-unknown"]
    assert run("evaluate", results, toy, "--out", tmp_path / "more", *rest) == 0
    assert "--engine and --cache and --drop-unknown had no effect" in capsys.readouterr().out


def test_models_of_other_classes_are_refused(
    models: tuple[Path, Path], toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = save_tiny_model(tmp_path / "names.safetensors", seed=1, lowest_score=0.0, names=("cat", "dgo", "owl"))
    ids = save_tiny_model(tmp_path / "ids.safetensors", seed=1, lowest_score=0.0, ids=(1, 2, 90))
    for other, message in ((names, "'dgo'"), (ids, "category ids than model 1: number 3 is 90")):
        assert run("detect", models[0], other, toy / "test", "--out", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_a_forgotten_source_is_told(
    count: int, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("detect", *models[:count], "--out", tmp_path) == 2
    assert "then an image or a folder: multibox detect MODEL... SOURCE" in capsys.readouterr().err

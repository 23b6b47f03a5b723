"""``multibox evaluate``: its options, and the reasons that it tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders import toy_images, write_coco
from tests.detection.tiny import CLASSES, save_tiny_model
from tests.tools.running import run_command
from tools.detect import detect
from tools.evaluate import evaluate


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "a.safetensors", seed=1, lowest_score=0.0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = {name: number for number, name in enumerate(CLASSES, start=1)}
    return write_coco(tmp_path_factory.mktemp("data"), {"test": toy_images(3, class_names=CLASSES)}, ids)


def run(*arguments: object) -> int:
    return run_command(evaluate, *arguments, "--device", "cpu")


def metrics_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return document


def test_a_model_tells_which_stage_lost_each_object(
    model: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, toy, "--out", tmp_path) == 0
    metrics = metrics_of(tmp_path)
    assert sum(row["count"] for row in metrics["confusion"] if row["truth"] is not None) == metrics["num_gt"]
    found = sum(round((each["recall"] or 0) * each["num_gt"]) for each in metrics["per_class"].values())
    assert sum(metrics["stage_blame"]["all"].values()) == metrics["num_gt"] - found > 0
    told = capsys.readouterr().out
    assert "AP50 lost by kind of error  classification" in told
    assert f"missed at the best thresholds: {metrics['num_gt'] - found}  " in told


def test_options_of_the_numbers(model: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--bands", "5%", "--max-detections", 7, "--precision", 0.5]
    assert run(model, toy, "--out", tmp_path, *options) == 0
    metrics = metrics_of(tmp_path)
    assert set(metrics["num_gt_per_size"]) == {"small", "large"}
    assert [name for name in metrics["coco"] if name.startswith("AR")] == ["AR1", "AR7", "ARs", "ARl"]
    assert metrics["wanted_precision"] == 0.5
    assert "AR7" in capsys.readouterr().out
    assert "5% of the image" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_results_of_a_file_and_several_passes_have_no_stages(model: Path, toy: Path, tmp_path: Path) -> None:
    assert run_command(detect, model, toy / "test", "--out", tmp_path / "found", "--device", "cpu") == 0
    assert run(tmp_path / "found" / "detections.json", toy, "--out", tmp_path / "file") == 0
    assert run(model, toy, "--tta", "--out", tmp_path / "passes") == 0
    for name in ("file", "passes"):
        assert metrics_of(tmp_path / name)["stage_blame"] is None
        assert metrics_of(tmp_path / name)["errors"]["kinds"]


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--bands", "96,32"], "ascending, got 96, 32"), (["--max-detections", 0], "max-detections")],
)
def test_wrong_options_are_told(
    options: list[object], message: str, model: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, toy, "--out", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

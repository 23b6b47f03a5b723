"""The command that calibrates a model's scores."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from detection.calibration import Calibration
from detection.checkpoint import load_header, load_model, save_model
from tests.builders import CLASS_NAMES, toy_images, write_voc
from tests.detection.tiny import save_tiny_model
from tests.tools.running import run_command
from tools import calibrate as command
from tools.evaluate import evaluate

run = partial(run_command, command.calibrate)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An untrained model that detects everywhere."""
    return save_tiny_model(
        tmp_path / "run" / "model.safetensors", lowest_score=0.0, names=CLASS_NAMES, training={"split": "trainval"}
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bare = [image._replace(objects=()) for image in toy_images(2, prefix="bare")]
    parts = {"train": toy_images(3), "val": toy_images(3, prefix="val", seed=1), "bare": bare}
    return write_voc(tmp_path_factory.mktemp("data") / "toy", parts)


def test_a_second_file_holds_the_same_weights_and_the_calibration(
    toy: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    assert run(model.parent, toy, "--split", "val", "--precision", 0.75) == 0
    written = model.with_name("model.calibrated.safetensors")
    assert f"written: {written}" in capsys.readouterr().out
    assert model.read_bytes() == before

    (tensors, header), (expected, plain) = load_model(written), load_model(model)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert (header.config, header.training, header.category_ids) == (plain.config, plain.training, plain.category_ids)
    assert header.calibration is not None
    found = Calibration.from_header(header.calibration, header.class_names)
    assert len(found.maps) == 3
    assert found.fitted_on["split"] == "val"
    assert found.fitted_on["images"] == 3
    assert found.fitted_on["precision"] == 0.75
    assert found.fitted_on["detections"] > 0
    json.dumps(header.calibration, allow_nan=False)


def test_a_share_is_remembered_by_the_name_that_evaluate_gives_it(
    toy: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, toy, "--split", "val:67%") == 0
    written = model.with_name("model.calibrated.safetensors")
    calibration = load_header(written).calibration
    assert calibration is not None
    assert calibration["fitted_on"]["split"] == "val:67%"
    assert run_command(evaluate, written, toy, "--split", "val:67%", "--out", tmp_path / "report") == 0
    flatters = "scores and thresholds were fitted on a part called 'val:67%'; their error and F1 flatter"
    assert f"warning: {flatters}" in capsys.readouterr().out
    assert flatters in json.loads((tmp_path / "report/metrics.json").read_text())["warnings"]
    for other, overlaps in (("val", True), ("val:-34%", True), ("val:-33%", False)):
        assert run_command(evaluate, written, toy, "--split", other, "--out", tmp_path / "report") == 0
        assert (flatters in capsys.readouterr().out) is overlaps


def test_out_names_the_file_and_may_be_the_model_itself(toy: Path, model: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "new" / "fitted.safetensors"
    assert run(model, toy, "--split", "val", "--out", elsewhere) == 0
    assert load_header(model).calibration is None
    assert run(model, toy, "--split", "val", "--out", model) == 0
    assert load_header(model).calibration == load_header(elsewhere).calibration
    # Once more from the calibrated model: the fit starts at the scores of the network again.
    assert run(model, toy, "--split", "val", "--out", tmp_path / "again.safetensors") == 0
    assert load_header(tmp_path / "again.safetensors").calibration == load_header(elsewhere).calibration


def test_another_model_is_not_written_over(
    toy: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors, header = load_model(model)
    other = tmp_path / "other.safetensors"
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_model(other, {**tensors, name: tensors[name] + 1}, header)
    before = other.read_bytes()
    assert run(model, toy, "--split", "val", "--out", other) == 2
    assert f"{other}: holds another model; give another --out" in capsys.readouterr().err
    assert other.read_bytes() == before


@pytest.mark.parametrize(("learnt", "warned"), [("val", True), ("trainval", True), ("train", False)])
def test_learnt_images_are_told(
    learnt: str, warned: bool, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny_model(
        tmp_path / "model.safetensors", lowest_score=0.0, names=CLASS_NAMES, training={"split": learnt}
    )
    assert run(model, toy, "--split", "val") == 0
    assert ("promises too much" in capsys.readouterr().out) is warned


def test_nothing_to_fit_to_is_refused(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent = save_tiny_model(tmp_path / "silent.safetensors", lowest_score=1.0, names=CLASS_NAMES)
    assert run(silent, toy, "--split", "val") == 2
    assert "the model detects nothing on the 3 images of split 'val'" in capsys.readouterr().err
    lively = save_tiny_model(tmp_path / "lively.safetensors", lowest_score=0.0, names=CLASS_NAMES)
    assert run(lively, toy, "--split", "bare") == 2
    assert "split 'bare' has no object to be found" in capsys.readouterr().err
    assert run(lively, toy, "--split", "val", "--out", tmp_path / "model.bin") == 2
    assert "add the suffix" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lively.safetensors", "silent.safetensors"]

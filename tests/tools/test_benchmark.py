"""``multibox benchmark`` of a trained model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from backbone.table import count_multiply_adds as count_layers
from configs.load import config_from_dict
from configs.schema import Config
from detection import build_training
from detection.data.discover import load_dataset
from detection.device import Compute
from detection.roi_classifier import FILLED_TO
from detection.timing import STAGES, count_multiply_adds
from tests.builders import random_pixels, save_image, toy_images, write_voc
from tests.detection.lively import detector_of
from tests.detection.tiny import save_tiny_model, tiny_config, tiny_network
from tests.tools.running import run_main as run
from tools import benchmark, detection_speed
from tools.detection_speed import DetectionSpeed, products_per_second

CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize(("lanes", "together"), [(1, " 2 at a time"), (3, "3 x 2 at a time")])
def test_it_tells_the_stages_of_a_model(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lanes: int, together: str
) -> None:
    monkeypatch.setattr(detection_speed, "count_lanes", lambda device: lanes)
    assert run("benchmark", model, "--images", 2, "--device", "cpu") == 0
    told = capsys.readouterr().out
    for text in ("backbone", "multibox", "classifier", "in all", "2 images", "of the ceiling", "billion multiply-adds"):
        assert text in told
    assert together in told
    assert "read" not in told
    assert "torchvision" not in told
    assert run("benchmark", "resnet") == 2
    assert "resnet: no such file" in capsys.readouterr().err


def test_images_that_cannot_be_read_are_passed_over(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    assert run("benchmark", model, tmp_path, "--device", "cpu") == 2
    assert "none of its images can be read" in capsys.readouterr().err
    save_image(tmp_path / "b.png", random_pixels((60, 96)))
    assert run("benchmark", model, tmp_path, "--device", "cpu") == 0
    told = capsys.readouterr().out
    assert f"passed over: {tmp_path / 'a.png'}: not an image" in told
    assert "1 images" in told


def test_files_are_read_and_the_peer_stands_beside(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        save_image(tmp_path / "photos" / f"{number}.png", random_pixels((60 + 20 * number, 96), number))
    out = tmp_path / "speed.json"
    assert run("benchmark", model, tmp_path / "photos", "--device", "cpu", "--peers", "--json", out) == 0
    assert "MobileNetV3-320" in capsys.readouterr().out
    document = json.loads(out.read_text())
    assert list(document["stages"]) == ["read", *STAGES]
    assert document["images"] == 3
    assert document["in_batches"]["images"] == 3
    assert 0 < document["in_batches"]["milliseconds"]
    assert document["peers"]["torchvision Faster R-CNN MobileNetV3-320"] > 0
    adds = sum(stage["multiply_adds"] for stage in document["stages"].values())
    assert document["multiply_adds"] == pytest.approx(adds)
    share = adds / document["ceiling_multiply_adds_per_second"] / (document["milliseconds"] / 1000)
    assert document["share_of_ceiling"] == pytest.approx(share)


def test_multiply_adds_of_the_backbone_are_those_of_its_layers() -> None:
    network = tiny_network()
    counted = count_multiply_adds(detector_of(network), random_pixels((64, 96)))
    assert counted["backbone"] == sum(count_layers(network.backbone, (64, 96)).values())
    # The classifier looks twice at 20 regions, filled up to 25: a 3x3 convolution on 7x7 places with stride 2, and the
    # linear layers.
    conv, trunk, member = 16 * 9 * 128 * 16, 128 * 16 * 32, 2 * (32 * 16 + 16 * (4 + 12))
    assert counted["classifier"] == 2 * FILLED_TO * (conv + trunk + member)
    assert counted["scale"] == counted["select"] == 0


@pytest.mark.parametrize(
    ("arguments", "options", "purpose"),
    [
        (["default", "data", "--training"], ["--device", "cpu"], "for a model's detection"),
        (["default", "data", "--training"], ["--images", "5"], "for a model's detection"),
        (["default", "data", "--training"], ["--peers"], "for a model's detection"),
        (["default", "data", "--training"], ["--config", "paper"], "for googlenet"),
        (["googlenet", "data"], ["--device", "cpu"], "for a model's detection"),
        (["model.safetensors"], ["--steps", "5"], "for a training"),
        (["model.safetensors"], ["--set", "train.seed=1"], "for a training"),
        (["model.safetensors"], ["--config", "paper"], "for googlenet"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    arguments: list[str], options: list[str], purpose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("benchmark", *arguments, *options) == 2
    assert f"{options[0]}: {purpose}" in capsys.readouterr().err


def test_shares_by_hand() -> None:
    milliseconds = {"read": [1.0, 3.0, 2.0], "scale": [1.0, 1.0, 1.0], "backbone": [6.0, 6.0, 7.0]}
    multiply_adds = {"read": 0.0, "scale": 0.0, "backbone": 3e6}
    speed = DetectionSpeed(CPU, milliseconds, multiply_adds, 1e9, None, {}, 4, 2, [6.0, 5.0, 4.0])
    assert speed.total_milliseconds == 10
    assert speed.milliseconds_from_pixels == 7  # 7, 7, 8 without reading
    assert speed.share_of_ceiling(3e6, 6.0) == pytest.approx(0.5)  # 3 of 6 ms
    document = speed.to_document()
    assert document["share_of_ceiling"] == pytest.approx(0.3)
    told = Console(record=True, width=120, file=StringIO())
    replace(speed, peers={"peer": [14.0, 14.0, 28.0]}).show(told)
    assert re.search(r"peer, from pixels\s*\S\s*14\.00\s*\S\s*2\.0 times", told.export_text(clear=False))
    assert re.search(r"2 x 4 at a time, from pixels\s*\S\s*5\.00", told.export_text(clear=False))
    expected = {"images": 4, "side_by_side": 2, "milliseconds": 5.0, "share_of_ceiling": pytest.approx(0.6)}
    assert document["in_batches"] == expected


def test_the_ceiling_is_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([1.0, 0.5, *[2.0] * 100])
    monkeypatch.setattr(detection_speed, "timed", lambda *call: (None, next(seconds)))
    assert products_per_second(CPU) == 2048**3 / 0.5


@pytest.mark.parametrize(("epochs", "has_mosaics"), [(8, True), (3, False)])
def test_a_training_is_timed_with_the_views_that_it_would_show(tmp_path: Path, epochs: int, has_mosaics: bool) -> None:
    values = {"augment": {"mosaic": 1.0, "many_epochs": 8}, "train": {"epochs": epochs}}
    config = config_from_dict({**tiny_config().model_dump(mode="json"), **values}, schema=Config)
    data = load_dataset(write_voc(tmp_path / "toy", {"train": toy_images(5)}), "train")
    source = replace(build_training.build_batches(config, data.images), enough_steps=0)
    batch = next(iter(benchmark.in_full_swing(source, config).batches(0, lambda step: benchmark.late_progress(config))))
    assert any(" + " in name for name in batch.file_names) is has_mosaics
    assert {max(target.image_size_hw) for target in batch.targets} == {config.input.longest_side}

"""A classifier's training: it learns, it goes on exactly, and its file is safe and complete."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from accelerate.state import AcceleratorState, GradientState
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file

from configs.load import load_config
from configs.pretraining import PretrainConfig
from detection.classification import build
from detection.classification.classifier import load_classifier
from detection.classification.packed import PackedImages, pack_part
from detection.engine import Trainer
from detection.errors import InputError
from detection.preprocess import resize
from detection.training_task import StepReport
from tests.classification.pictures import COLOURS, class_files, picture, write_folder
from tools.pretraining_run import PretrainingRun

SMALL = ["input.sides=[[0.0, 32], [0.5, 64]]", "train.batch_size=6", "train.precision=float32", "train.device=cpu"]


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> tuple[PackedImages, PackedImages]:
    root = tmp_path_factory.mktemp("data")
    files = {**class_files("train/", 4), **class_files("val/", 2, first_seed=100)}
    data = write_folder(root / "data", files)
    train, val = (pack_part(data, part, root / "packs", shorter_side=64) for part in ("train", "val"))
    return train, val


def make_run(
    out: Path, packs: tuple[PackedImages, PackedImages], *overrides: str, recipe: str = "modern"
) -> PretrainingRun:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    config = load_config(recipe, [*SMALL, *overrides], schema=PretrainConfig)
    return PretrainingRun(out, config, *packs, note="free", console=Console(quiet=True))


def assert_same_file(one: Path, other: Path) -> None:
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path, packs: tuple[PackedImages, PackedImages], optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("train.epochs=2", f"train.optimizer={optimizer}")
    make_run(tmp_path / "whole", packs, *overrides).fit(None, resume=False)
    timed_step = Trainer._timed_step

    def stop_at_three(self: Trainer, *args: object) -> StepReport:  # in the middle of the second epoch
        report = timed_step(self, *args)
        if report.step == 3:
            self.request_stop()
        return report

    monkeypatch.setattr(Trainer, "_timed_step", stop_at_three)
    with pytest.raises(typer.Exit) as caught:
        make_run(tmp_path / "parts", packs, *overrides).fit(None, resume=False)
    assert caught.value.exit_code == 75
    monkeypatch.undo()
    make_run(tmp_path / "parts", packs, *overrides).fit(None, resume=True)
    assert_same_file(tmp_path / "whole" / "model.safetensors", tmp_path / "parts" / "model.safetensors")
    steps = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["kind"] == "train"] == [1, 2, 3, 4]


def test_another_seed_is_another_model(tmp_path: Path, packs: tuple[PackedImages, PackedImages]) -> None:
    for seed in (0, 1):
        make_run(tmp_path / str(seed), packs, "train.epochs=1", f"train.seed={seed}").fit(None, resume=False)
    with pytest.raises(AssertionError):
        assert_same_file(tmp_path / "0" / "model.safetensors", tmp_path / "1" / "model.safetensors")


def test_colours_are_learnt_and_the_file_tells_how(tmp_path: Path, packs: tuple[PackedImages, PackedImages]) -> None:
    easy = [f"views.{change}=0" for change in ("brightness", "contrast", "saturation")]
    easy += ["views.min_area=0.5", "network.dropout=0", "train.ema_decay=0.5", "input.sides=[[0.0, 32]]"]
    easy += ["train.optimizer=adamw", "train.learning_rate=0.001"]
    make_run(tmp_path, packs, "train.epochs=20", *easy).fit(None, resume=False)
    path = tmp_path / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["multibox-rcnn"])
        dtypes = {name: file.get_tensor(name).dtype for name in ("fc.weight", "fc.bias", "conv1.bn.running_var")}
    assert header["class_names"] == ["blue", "green", "red"]
    assert header["note"] == "free"
    assert header["variant"] == {"block": "reduced", "norm": "batchnorm", "five_kernel": 3}
    assert header["preprocessing"]["side"] == 32
    assert header["training"]["validation"] == {"top1": 1.0, "top5": None}
    assert list(dtypes.values()) == [torch.float16, torch.float32, torch.float32]
    classifier = load_classifier(path, device="cpu", precision="float32")
    pictures = np.stack([resize(picture(COLOURS[name], 500), (32, 32)) for name in classifier.class_names])
    probabilities = classifier.probabilities(pictures)
    assert probabilities.argmax(dim=1).tolist() == [0, 1, 2]
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))


def test_the_paper_recipe_trains_the_paper_network(tmp_path: Path, packs: tuple[PackedImages, PackedImages]) -> None:
    make_run(tmp_path, packs, "train.epochs=1", recipe="paper").fit(None, resume=False)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0].keys() >= {"class", "aux1", "aux2"}
    names = load_file(tmp_path / "model.safetensors").keys()
    assert "conv1.conv.bias" in names
    assert not any(name.startswith("aux") or ".bn." in name for name in names)
    assert load_classifier(tmp_path).network.variant.norm == "lrn"


def test_a_trained_trunk_is_a_start(tmp_path: Path, packs: tuple[PackedImages, PackedImages]) -> None:
    make_run(tmp_path / "first", packs, "train.epochs=1").fit(None, resume=False)
    path = tmp_path / "first" / "model.safetensors"
    config = load_config("modern", [*SMALL, f"network.weights={path}"], schema=PretrainConfig)
    network = build.build_network(config, num_classes=5)
    before = network.fc.weight.clone() if network.fc is not None else None
    build.load_start_weights(config, network)
    stored = load_file(path)
    torch.testing.assert_close(network.conv3.conv.weight, stored["conv3.conv.weight"].float())
    torch.testing.assert_close(network.get_buffer("conv1.bn.running_var"), stored["conv1.bn.running_var"])
    assert network.fc is not None
    torch.testing.assert_close(network.fc.weight, before)
    config = load_config("modern", ["network.weights=nowhere.safetensors"], schema=PretrainConfig)
    with pytest.raises(InputError, match=r"network\.weights: backbone weights 'nowhere\.safetensors': no such file"):
        build.load_start_weights(config, network)


def test_resolution_grows(packs: tuple[PackedImages, PackedImages]) -> None:
    config = load_config("modern", SMALL, schema=PretrainConfig)
    batches = build.build_batches(config, packs[0]).batches(0, lambda step: step / 4)
    sides = [batch.images.shape for batch, _ in zip(batches, range(4), strict=False)]
    assert sides == [(6, 3, 32, 32)] * 2 + [(6, 3, 64, 64)] * 2


def test_a_run_of_other_images_is_not_gone_on_with(tmp_path: Path, packs: tuple[PackedImages, PackedImages]) -> None:
    make_run(tmp_path, packs, "train.epochs=1").fit(None, resume=False)
    with pytest.raises(InputError, match=r"images was 12 .*, is 6"):
        make_run(tmp_path, (packs[1], packs[1]), "train.epochs=1").fit(None, resume=True)
    with pytest.raises(InputError, match="holds a run already"):
        make_run(tmp_path, packs, "train.epochs=1").fit(None, resume=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "damaged or not a safetensors file"), (b"PK\x03\x04" + bytes(80), "damaged or not a safetensors file")],
)
def test_junk_is_no_classifier(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path)

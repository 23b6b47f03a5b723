"""The preset of the entry on a small data set in the layout of ILSVRC: train, stop, go on, detect, evaluate."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from detection.checkpoint import load_header
from detection.engine import Trainer
from tests.builders import SYNSETS, ToyImage, ToyObject, write_ilsvrc
from tests.tools.running import run_main as run

ACCORDION, _, ANT, BOTTLE = SYNSETS
TRAIN = [
    ToyImage("ILSVRC2013_train/a_1", (60, 80), (ToyObject(ACCORDION, (8, 8, 50, 50)),)),
    ToyImage("ILSVRC2013_train_extra0/b_1", (60, 80)),
    ToyImage(
        "ILSVRC2014_train_0000/c_1", (80, 60), (ToyObject(ANT, (5, 10, 40, 70)), ToyObject(BOTTLE, (20, 2, 58, 50)))
    ),
]
VAL = [
    ToyImage("ILSVRC2012_val_00000001", (60, 80), (ToyObject(BOTTLE, (10, 10, 60, 50)),)),
    ToyImage("ILSVRC2012_val_00000002", (60, 80)),
]
SMALL = [
    "--config=ilsvrc2014",
    "--set=input.longest_side=96",
    "--set=pyramid.channels=16",
    "--set=proposals.candidates=50",
    "--set=proposals.num_train=16",
    "--set=proposals.num_detect=10",
    "--set=proposals.selective_search={mode: single, max_boxes: 20}",
    "--set=classifier.hidden=32",
    "--set=classifier.crop={members: 2, side: 64, context: 4, batch: 8, proposer_share: 0.34}",
    "--set=postprocess.score_threshold=0",
    "--set=train.epochs=3",
    "--set=train.batch_size=2",
    "--set=train.workers=0",
    "--set=train.device=cpu",
    "--set=train.precision=float32",
]


@pytest.mark.slow
def test_the_entry_in_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_ilsvrc(tmp_path / "data", {"train": TRAIN, "val": VAL})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run("train", data, "--split", "train", "--out", whole, *SMALL) == 0
    shown = capsys.readouterr().out
    assert "plan: 1 epoch for learning to propose, then 1 epoch for each of 2 members" in shown
    assert f"model: {whole / 'model.safetensors'} with 2 of 2 members" in shown
    header = load_header(whole)
    assert header.config["classifier"]["crop"]["members"] == 2
    assert header.training["steps"] == [2, 2]
    assert header.category_ids == (1, 2, 3, 4)

    # A run that is done stays as it is.
    written = (whole / "model.safetensors").stat().st_mtime_ns
    assert run("train", data, "--split", "train", "--out", whole, "--resume", *SMALL) == 0
    assert (whole / "model.safetensors").stat().st_mtime_ns == written

    # A signal in the very last step of what proposes: no member starts. A stop in the second member's first step: the
    # model so far has the first member.
    done = Trainer.train_step
    steps = []

    def interrupted_step(self: Trainer, *arguments: object) -> object:
        steps.append(1)
        if len(steps) in (2, 5):
            signal.raise_signal(signal.SIGTERM)
        return done(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "train_step", interrupted_step)
    shutil.copytree(whole / "proposals", parts / "proposals")  # spares the search
    capsys.readouterr()
    assert run("train", data, "--split", "train", "--out", parts, *SMALL) == 75
    assert "stopped between two stages" in capsys.readouterr().out
    assert not (parts / "member1").exists()
    assert run("train", data, "--split", "train", "--out", parts, "--resume", *SMALL) == 75
    assert load_header(parts).config["classifier"]["crop"]["members"] == 1
    monkeypatch.undo()
    assert run("train", data, "--split", "train", "--out", parts, *SMALL) == 2
    assert run("train", data, "--split", "train", "--out", parts, "--resume", *SMALL) == 0
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    use_it(whole, data, tmp_path, capsys)


def use_it(whole: Path, data: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Evaluates, detects with the whole, a member and what proposes, and asks what the file holds."""
    capsys.readouterr()
    use = ("--device", "cpu", "--cache", whole / "proposals")
    assert run("evaluate", whole, data, "--split", "val", "--out", folder / "report", *use) == 0
    metrics = json.loads((folder / "report/metrics.json").read_text())
    assert metrics["ilsvrc"]["mAP"] is not None
    photos = data / "Data/DET/val"
    for model in (whole, whole / "member1", whole / "proposer"):
        out = folder / f"found-{model.name}"
        assert run("detect", model, photos, "--out", out, *use) == 0
        found = {entry["category_id"] for entry in json.loads((out / "detections.json").read_text())}
        assert found
        assert found <= {1, 2, 3, 4}
    assert run("info", whole) == 0
    assert "steps: [2, 2]" in capsys.readouterr().out


def test_more_images_than_objects_in_a_step_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_ilsvrc(tmp_path / "data", {"train": TRAIN})
    assert run("train", data, "--out", tmp_path / "run", *SMALL, "--set=train.batch_size=3") == 2
    shown = capsys.readouterr()
    assert "are 2 for train.batch_size = 3 images; raise classifier.crop.batch" in shown.out + shown.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_validation_part_decides_about_each_member(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_ilsvrc(tmp_path / "data", {"train": TRAIN, "val": VAL})
    options = [*SMALL, "--set=proposals.method=selective-search", "--set=classifier.crop.members=1", "--val=val"]
    assert run("train", data, "--split", "train", "--out", tmp_path / "run", *options) == 0
    shown = capsys.readouterr().out
    assert "plan: 3 epochs for the member" in shown
    assert "validation after step" in shown
    assert not (tmp_path / "run/proposer").exists()
    assert "AP" in load_header(tmp_path / "run/member1").training["validation"]

"""``multibox train`` on a tiny data set: what it keeps, tells and refuses."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from configs.load import config_origins, load_config
from configs.schema import Config
from detection.engine import Trainer
from detection.errors import InputError
from detection.training_log import TrainingLog
from tests.builders import toy_images, write_coco, write_voc
from tests.tools.running import run_main as run
from tests.tools.tiny_run import TINY
from tools.run_folder import stopping_on_signals
from tools.train import tell_many_epochs


def test_train_fills_the_run_folder(model: Path) -> None:
    run_folder = model.parent
    assert model.is_file()
    assert (run_folder / "last" / "state.safetensors").is_file()
    assert "longest_side: 64" in (run_folder / "config.yaml").read_text()
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert set(lines[0]) >= {"proposal_objectness", "region_class", "learning_rate", "images_per_second"}
    assert list((run_folder / "tensorboard").iterdir())


def test_train_refuses_a_used_folder_and_resumes_it(toy: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", toy, "--out", model.parent, "--epochs", 1, *TINY) == 2
    assert "holds a run already; add --resume" in capsys.readouterr().err
    before = model.read_bytes()
    assert run("train", toy, "--out", model.parent, "--epochs", 1, "--resume", *TINY) == 0
    assert "goes on at step 2" in capsys.readouterr().out
    assert model.read_bytes() == before
    assert run("train", toy, "--out", model.parent, "--epochs", 2, "--resume", *TINY) == 2
    assert "train.epochs was 1, is 2" in capsys.readouterr().err
    assert run("train", toy, "--out", model.parent, "--minutes", 1, "--resume", *TINY, "--set=train.epochs=1") == 2
    assert "budget was 2 steps, is 1 minutes" in capsys.readouterr().err


def test_a_failed_start_does_not_lock_the_folder(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run("train", toy, "--out", out, "--set", "backbone.weights=typo.safetensors", *TINY) == 2
    assert run("train", toy, "--out", out, "--epochs", 1, *TINY) == 0


def test_start_weights_of_something_else_make_no_long_message(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"layer.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    weights = f"backbone.weights={tmp_path / 'other.safetensors'}"
    assert run("train", toy, "--out", tmp_path / "run", *TINY, "--set", weights) == 2
    told = capsys.readouterr().err
    assert "these weights do not fit this GoogLeNet: missing: conv1" in told
    assert len(told) < 1000


def test_a_lack_of_memory_does_not_lock_the_folder(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(trainer: object) -> None:
        raise InputError("the largest batch does not fit the memory; lower train.batch_size")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "rehearse", fail)
        for form in ("shared", "crop"):
            assert run("train", toy, "--out", tmp_path / form, *TINY, "--set", f"classifier.form={form}") == 2
            assert "lower train.batch_size" in capsys.readouterr().err
            assert not list((tmp_path / form).rglob("config.yaml"))
    assert run("train", toy, "--out", tmp_path / "shared", "--epochs", 1, *TINY, "--set", "train.batch_size=3") == 0


def test_learnt_images_are_told_whatever_their_part_is_called(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = toy_images(6)
    root = write_voc(tmp_path / "data", {"train": images[:4], "val": images[4:], "trainval": images})
    assert run("train", root, "--out", tmp_path / "all", "--epochs", 1, *TINY) == 0
    assert run("train", root, "--out", tmp_path / "part", "--val", "val", "--epochs", 1, *TINY) == 0
    capsys.readouterr()

    assert run("evaluate", tmp_path / "all", root, "--out", tmp_path / "report") == 0
    told = capsys.readouterr().out
    assert "note: 2 of 2 images looked up are, by name and size, among those the model learnt from; on learnt" in told
    assert "chosen on a part" not in told
    assert run("evaluate", tmp_path / "part", root, "--out", tmp_path / "report") == 0
    told = capsys.readouterr().out
    assert "learnt from" not in told
    assert "note: the model's weights were chosen on a part called 'val'" in told
    assert run("calibrate", tmp_path / "all", root, "--split", "val") in (0, 2)  # finds little after so few steps
    assert "warning: 2 of 2 images looked up are, by name and size, among those" in capsys.readouterr().out


def test_validation_on_learnt_images_is_refused(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", toy, "--out", tmp_path, "--split", "trainval", "--val", "trainval", "--epochs", 1, *TINY) == 2
    assert "--val trainval: 4 of its images are also learnt from" in capsys.readouterr().err


def test_parts_without_the_usual_names(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_coco(tmp_path / "one", {"default": toy_images(4)})
    assert run("train", one, "--out", tmp_path / "run", "--epochs", 1, *TINY) == 0
    assert run("evaluate", tmp_path / "run", one, "--out", tmp_path / "report") == 0
    assert "on learnt images the numbers flatter" in capsys.readouterr().out
    shares = ["--split", "75%", "--val", "-25%"]
    assert run("train", one, "--out", tmp_path / "share", "--epochs", 1, *TINY, *shares) == 0
    assert run("evaluate", tmp_path / "share", one, "--split", "-25%", "--out", tmp_path / "rest") == 0
    told = capsys.readouterr().out
    assert "default:75%: COCO" in told
    assert "3 images, " in told
    assert "learnt" not in told
    two = write_voc(tmp_path / "two", {"summer": toy_images(2), "winter": toy_images(2, prefix="w")})
    assert run("train", two, "--out", tmp_path / "other", *TINY) == 2
    assert "has the parts summer, winter, none called train; name one with --split" in capsys.readouterr().err


def test_nothing_to_learn_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = [image._replace(objects=()) for image in toy_images(3)]
    root = write_coco(tmp_path / "bare", {"train": bare})
    assert run("train", root, "--out", tmp_path / "run", *TINY) == 2
    assert "has 3 images and not one object to learn" in capsys.readouterr().err


def test_an_image_that_breaks_in_its_body_does_not_end_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_voc(tmp_path / "data", {"train": toy_images(4)})
    path = root / "JPEGImages" / "image2.jpg"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    assert run("train", root, "--out", tmp_path / "run", "--epochs", 2, *TINY) == 0
    told = capsys.readouterr().out
    assert "1 images could not be read" in told
    assert "image2.jpg" in told


def test_a_file_in_the_place_of_the_folder(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run("train", toy, "--out", tmp_path / "file", "--epochs", 1, *TINY) == 2
    assert "give another path" in capsys.readouterr().err


def test_train_with_validation_keeps_the_best(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", toy, "--out", tmp_path, "--val", "test", "--epochs", 2, *TINY) == 0
    told = capsys.readouterr().out
    assert "validation after step" in told
    assert "after 4 steps, 2.0 passes over the images" in told
    share = re.search(r"validations took (\d+)% of the time", told)
    assert share is not None
    assert 0 < int(share[1]) < 100
    assert "settings of --set: input.longest_side 64, pyramid.channels 8, " in told
    assert "train.learning_rate" not in told  # a default
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kinds == ["train"] * 4 + ["validation"]
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("settings", "minutes", "told"),
    [
        ([], None, None),
        (["augment.mosaic=0.3", "augment.iou_crop=0.3"], None, "augment.mosaic and augment.iou_crop only for"),
        (["augment.mosaic=0.3", "augment.many_epochs=40", "train.epochs=40"], None, None),
        (["augment.mosaic=0"], None, None),
        (["augment.iou_crop=0.3"], 5.0, "augment.iou_crop only for trainings of 80 passes"),
        (["augment.iou_crop=0.3", "augment.many_epochs=0"], 5.0, None),
    ],
)
def test_mosaics_asked_for_in_a_training_that_may_be_too_short_are_told(
    capsys: pytest.CaptureFixture[str], settings: list[str], minutes: float | None, told: str | None
) -> None:
    config = load_config("default", settings, schema=Config)
    tell_many_epochs(config, config_origins("default", settings, schema=Config), minutes)
    note = capsys.readouterr().out
    assert (told in note) if told else note == ""


def test_two_trainings_do_not_share_a_folder(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("detection.claim._SECONDS", 0.01)
    options = [toy, "--out", tmp_path, "--epochs", 1, *TINY]
    assert run("train", *options) == 0
    with closing(TrainingLog(tmp_path)):
        assert run("train", *options, "--resume") == 2
    assert f"{tmp_path}: another process is training into this folder" in capsys.readouterr().err
    assert run("train", *options, "--resume") == 0


def test_a_model_of_elsewhere_is_not_written_over(
    toy: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "model.safetensors"
    kept.write_bytes(model.read_bytes())
    assert run("train", toy, "--out", tmp_path, "--epochs", 1, *TINY) == 2
    assert "holds a model.safetensors and no run; give another --out" in capsys.readouterr().err
    assert kept.read_bytes() == model.read_bytes()


def test_train_for_minutes(toy: Path, tmp_path: Path) -> None:
    assert run("train", toy, "--out", tmp_path, "--minutes", 0.02, *TINY) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["progress"] > lines[0]["progress"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_ask_for_a_stop_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    heard: list[str] = []
    with stopping_on_signals(lambda: heard.append("stop")):
        os.kill(os.getpid(), number)
    assert heard == ["stop"]
    assert signal.getsignal(number) is before

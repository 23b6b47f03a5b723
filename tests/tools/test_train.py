"""``multibox train`` on a tiny data set: what it keeps, tells and refuses."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from configs.load import config_origins, load_config
from configs.schema import Config
from detection.checkpoint import load_header
from detection.crop.objective import CropObjective
from detection.engine import Trainer
from detection.errors import InputError
from detection.losses import TrainingObjective
from detection.training_log import TrainingLog
from tests.builders import toy_images, write_coco, write_voc
from tests.evaluation.splits import make_record, make_split
from tests.tools.running import run_main as run
from tests.tools.tiny_run import TINY
from tools.following import stopping_on_signals
from tools.train import tell_idle, tell_many_epochs, tell_overfull


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


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("shared", "train.batch_size or input.longest_side or classifier.rois_per_image"),
        ("crop", "classifier.crop.batch or classifier.crop.side"),
    ],
)
def test_a_lack_of_memory_names_what_helps(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
    options: str,
) -> None:
    def fail(objective: object, *inputs: object) -> None:
        raise MemoryError("no more")

    objective = TrainingObjective if form == "shared" else CropObjective
    monkeypatch.setattr(objective, "forward", fail)
    settings = [*TINY, "--set", f"classifier.form={form}", "--epochs", 1]
    assert run("train", toy, "--out", tmp_path / form, *settings) == 2
    assert f"the largest batch does not fit the memory (no more); lower {options}" in capsys.readouterr().err


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
    assert (
        "warning: 2 of 2 images looked up are, by name and size, among those the model learnt from; on learnt" in told
    )
    assert "chosen on a part" not in told
    assert run("evaluate", tmp_path / "part", root, "--out", tmp_path / "report") == 0
    told = capsys.readouterr().out
    assert "learnt from" not in told
    assert "warning: the model's weights were chosen on a part called 'val'" in told
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


def test_train_with_validation_tells_what_it_took(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    ("settings", "minutes", "num_images", "told"),
    [
        ([], None, 300, None),
        (
            ["augment.mosaic=0.3", "augment.iou_crop=0.3"],
            None,
            300,
            "augment.mosaic and augment.iou_crop in full only",
        ),
        (["augment.mosaic=0.3", "augment.many_epochs=40", "train.epochs=40"], None, 300, None),
        (["augment.mosaic=0.3", "train.epochs=100"], None, 25, "augment.mosaic in full only for"),  # 700 steps
        (["augment.mosaic=0.3", "augment.many_epochs=0"], None, 25, None),
        (["augment.mosaic=0"], None, 300, None),
        (["augment.iou_crop=0.3"], 5.0, 300, "augment.iou_crop in full only for trainings of 80 passes"),
        (["augment.iou_crop=0.3", "augment.many_epochs=0"], 5.0, 300, None),
    ],
)
def test_mosaics_asked_for_in_a_training_that_may_be_too_short_are_told(
    capsys: pytest.CaptureFixture[str], settings: list[str], minutes: float | None, num_images: int, told: str | None
) -> None:
    config = load_config("default", settings, schema=Config)
    tell_many_epochs(config, config_origins("default", settings, schema=Config), minutes, num_images=num_images)
    note = capsys.readouterr().out
    assert (told in note) if told else note == ""


@pytest.mark.parametrize(
    ("settings", "minutes", "val", "idle"),
    [
        ([], 5.0, None, []),
        (["train.epochs=9"], 5.0, "val", ["train.epochs"]),
        (["train.epochs=9"], None, "val", []),
        (
            ["train.best_metric=AP50", "train.evaluate_every=2"],
            None,
            None,
            ["train.best_metric", "train.evaluate_every"],
        ),
        (["train.best_metric=AP50", "train.evaluate_every=2"], None, "val", []),
    ],
)
def test_values_that_have_no_effect_are_told(
    capsys: pytest.CaptureFixture[str], settings: list[str], minutes: float | None, val: str | None, idle: list[str]
) -> None:
    tell_idle(config_origins("accurate", settings, schema=Config), minutes=minutes, val=val)  # itself has train.epochs
    told = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("note: ").partition(" has no effect here")[0] for line in told] == idle


def test_a_loss_that_is_no_number_leaves_a_model_and_a_way_on(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [toy, "--out", tmp_path, "--epochs", 2, *TINY]
    with monkeypatch.context() as patch:
        train_step = Trainer.train_step

        def break_off(trainer: Trainer, batch: Any, progress: float) -> dict[str, float]:
            if trainer.step == 3:
                trainer.save()  # as after train.checkpoint_seconds
                trainer._refuse_non_finite({"region_class": float("nan")}, batch)
            return train_step(trainer, batch, progress)

        patch.setattr(Trainer, "train_step", break_off)
        assert run("train", *options) == 2
    told = capsys.readouterr().err
    assert "step 3: region_class is not finite" in told
    assert f"a model: {tmp_path / 'model.safetensors'}" in told
    assert load_header(tmp_path).training["steps"] == 3
    assert run("train", *options, "--resume", "--set=train.learning_rate=0.0001") == 0
    told = capsys.readouterr().out
    assert "note: train.learning_rate was 0.001, is 0.0001, from here on" in told
    assert "goes on at step 3" in told


def test_labels_that_have_changed_are_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = toy_images(4)
    options = [tmp_path / "data", "--out", tmp_path / "run", "--epochs", 1, *TINY]
    write_voc(tmp_path / "data", {"train": images})
    assert run("train", *options) == 0
    moved = images[0].objects[0]._replace(box=(1, 1, 9, 9))
    write_voc(tmp_path / "data", {"train": [images[0]._replace(objects=(moved, *images[0].objects[1:])), *images[1:]]})
    assert run("train", *options, "--resume") == 2
    assert re.search(r"labels was \d+ objects \(\w+\), is \d+ objects \(\w+\)", capsys.readouterr().err)


@pytest.mark.parametrize("form", ["shared", "crop"])
def test_a_note_on_the_images_goes_into_the_model(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    options = [
        *TINY,
        f"--set=classifier.form={form}",
        "--set=classifier.crop.members=1",
        "--set=classifier.crop.side=64",
    ]
    terms = "Of the clinic, not to be given away."
    assert run("train", toy, "--out", tmp_path, "--epochs", 1, *options, "--note", terms) == 0
    capsys.readouterr()
    assert run("train", toy, "--out", tmp_path, "--epochs", 1, *options, "--resume") == 2
    assert f"note was {terms}, is " in capsys.readouterr().err
    note = load_header(tmp_path).note
    assert note.startswith("The weights belong to whoever trained them")
    assert terms in note
    assert note.endswith("The backbone started from weights of Tiny ImageNet (docs/model-card.md).")


def test_the_weights_of_the_last_step_stand_beside_the_best(toy: Path, tmp_path: Path) -> None:
    assert run("train", toy, "--out", tmp_path, "--val", "test", "--epochs", 2, *TINY) == 0
    last = load_header(tmp_path / "last/model.safetensors").training
    assert (last["steps"], last["validation"]) == (4, {})
    assert run("info", tmp_path / "last/model.safetensors") == 0


def test_a_log_is_not_taken_from_a_running_training(tmp_path: Path) -> None:
    with closing(TrainingLog(tmp_path)) as log:
        log.write("train", 1, {"loss": 0.5})
        with pytest.raises(InputError, match="another process is training into this folder"):
            TrainingLog(tmp_path)
        log.write("train", 2, {"loss": 0.4})
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2]


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


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ([], None),
        (["postprocess.max_detections=2"], 2),
        (["proposals.num_detect=1"], 1),
        (["proposals.num_detect=1", "proposals.method=selective-search"], None),
    ],
)
def test_images_with_more_objects_than_can_be_found_are_told_beforehand(
    settings: list[str], limit: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    box = (0.0, 0.0, 9.0, 9.0)
    tell_overfull(load_config("default", settings, schema=Config), make_split([make_record(1, [(box, 0)] * 3)]))
    said = capsys.readouterr().out
    assert (said == "") == (limit is None)
    assert limit is None or f"1 image(s) hold more than {limit} objects (image1.jpg holds 3)" in " ".join(said.split())


def test_one_number_of_epochs(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", toy, "--out", tmp_path / "run", "--epochs", 1, "--set", "train.epochs=7", *TINY) == 2
    assert "--epochs and --set train.epochs say the same; give one of them" in capsys.readouterr().err

"""Every command on a tiny data set, and what it says to wrong input."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from detection.engine import Trainer
from detection.errors import InputError
from tests.builders import CLASS_NAMES, random_pixels, save_image, toy_images, write_coco, write_voc
from tests.tools.running import run_main as run
from tools.run_folder import stopping_on_signals

TINY = [
    "--set=input.longest_side=64",
    "--set=pyramid.channels=8",
    "--set=proposals.candidates=50",
    "--set=proposals.num_train=16",
    "--set=proposals.num_detect=10",
    "--set=classifier.hidden=16",
    "--set=classifier.member_hidden=8",
    "--set=classifier.rois_per_image=8",
    "--set=postprocess.score_threshold=0",
    "--set=train.batch_size=2",
    "--set=train.precision=float32",
    "--set=train.device=cpu",
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "toy"
    parts = {"trainval": toy_images(4), "test": toy_images(3, prefix="test", seed=1)}
    return write_voc(root, parts)


@pytest.fixture(scope="module")
def model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run("train", toy, "--out", out, "--epochs", 1, *TINY) == 0
    return out / "model.safetensors"


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


def test_demo_clears_its_own_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    assert run("demo", "--out", tmp_path) == 2
    assert "holds files that no demo made" in capsys.readouterr().err
    assert (tmp_path / "precious.txt").read_text() == "mine"


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


def test_many_passes_over_few_images_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_voc(tmp_path / "data", {"train": toy_images(2)})
    monkeypatch.setattr("tools.training_run.MANY_PASSES", 2)
    told = []
    for number, options in enumerate((["--epochs", 3], ["--epochs", 2], ["--epochs", 3, "--set=augment.mosaic=0.5"])):
        assert run("train", root, "--out", tmp_path / str(number), *TINY, *options) == 0
        told.append("learn them by heart" in capsys.readouterr().out)
    assert told == [True, False, False]


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


def test_evaluate_a_model(toy: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", model, toy, "--out", tmp_path) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["coco"]) >= {"AP", "AP50", "AP75", "AR100"}
    assert metrics["num_images"] == 3
    assert "recall@100" in metrics["proposals"]
    assert "<html" in (tmp_path / "report.html").read_text()
    assert "COCO  AP" in capsys.readouterr().out


def test_detect_then_evaluate_its_results(
    toy: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = toy / "JPEGImages"
    found = tmp_path / "found"
    assert run("detect", model, photos, "--out", found, "--formats", "coco,csv,yolo,voc", "--images") == 0
    listing = json.loads((found / "images.json").read_text())
    assert len(listing["images"]) == len(list(photos.iterdir()))
    assert json.loads((found / "errors.json").read_text()) == []
    assert (found / "detections.csv").is_file()
    assert (found / "yolo" / "classes.txt").is_file()
    assert len(list((found / "images").glob("*.jpg"))) == len(listing["images"])
    assert run("evaluate", found / "detections.json", toy, "--out", tmp_path / "from_json") == 0
    assert run("evaluate", model, toy, "--out", tmp_path / "from_model") == 0
    by_file, by_model = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("from_json", "from_model"))
    assert by_file["coco"] == by_model["coco"]


def test_detect_names_the_bad_file_and_goes_on(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "in" / "good.png", random_pixels((30, 40)))
    (tmp_path / "in" / "bad.jpg").write_bytes(b"")
    assert run("detect", model, tmp_path / "in", "--out", tmp_path / "out") == 1
    errors = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert [error["file_name"] for error in errors] == ["bad.jpg"]
    assert "errors.json says why" in capsys.readouterr().out
    assert run("detect", model, tmp_path / "in", "--out", tmp_path / "out") == 2
    assert "add --resume" in capsys.readouterr().err


def test_resumed_detection_writes_the_same_bytes(toy: Path, model: Path, tmp_path: Path) -> None:
    photos, whole, parts = toy / "JPEGImages", tmp_path / "whole", tmp_path / "parts"
    assert run("detect", model, photos, "--out", whole) == 0
    assert run("detect", model, photos, "--out", parts) == 0
    lines = (parts / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (parts / "journal.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])  # a kill in the third image
    assert run("detect", model, photos, "--out", parts, "--resume") == 0
    for name in ("detections.json", "images.json", "errors.json", "journal.jsonl"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_info_shows_a_model_and_a_preset(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", model) == 0
    shown = capsys.readouterr().out
    assert "bird" in shown
    assert "steps: 2" in shown
    assert run("info", "default", "--set", "train.seed=5") == 0
    shown = capsys.readouterr().out
    assert "train.seed" in shown
    assert "--set" in shown


def test_check_tells_findings_by_exit_code(toy: Path, tmp_path: Path) -> None:
    assert run("check", tmp_path / "nothing") == 2
    broken = write_voc(tmp_path / "broken", {"train": toy_images(2)})
    xml = broken / "Annotations" / "image0.xml"
    xml.write_text(xml.read_text().replace("<xmax>", "<xmax>9"))
    assert run("check", broken) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "TOY", "--out", "OUT", "--minutes", "1", "--epochs", "1"], "exclude each other"),
        (["train", "TOY", "--out", "OUT", "--set", "train.lerning_rate=1"], "train.learning_rate"),
        (["train", "TOY", "--out", "OUT", "--config", "fats"], "did you mean fast?"),
        (["train", "TOY", "--out", "OUT", "--split", "trian"], "trainval"),
        (["train", "missing", "--out", "OUT"], "missing"),
        (["train", "TOY", "--out", "OUT", "--set", "backbone.weights=x.safetensors"], "no such file"),
        (["train", "TOY", "--out", "OUT", "--set", "train.device=cuda:7"], "not available on this machine"),
        (["evaluate", "MODEL", "TOY", "--out", "OUT", "--split", "tset"], "test"),
        (["evaluate", "gone.safetensors", "TOY", "--out", "OUT"], "no such file"),
        (["detect", "MODEL", "missing", "--out", "OUT"], "no such file or folder"),
        (["detect", "MODEL", "TOY", "--out", "OUT", "--formats", "coco,xsl"], "xsl is not known"),
        (["info", "gone.safetensors"], "no such file"),
    ],
)
def test_wrong_input_is_answered_in_words(
    arguments: list[str], message: str, toy: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"TOY": str(toy), "MODEL": str(model), "OUT": str(tmp_path / "out")}
    assert run(*[places.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_unknown_class_in_the_test_part(
    toy: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_voc(tmp_path / "other", {"test": toy_images(3, class_names=("bird", "cat", "dgo"), seed=1)})
    assert run("evaluate", model, other, "--out", tmp_path / "r") == 2
    error = capsys.readouterr().err
    assert "dgo" in error
    assert "dog" in error
    assert run("evaluate", model, other, "--out", tmp_path / "r", "--drop-unknown") == 0


def test_coco_ids_and_names_come_back_unchanged(tmp_path: Path) -> None:
    ids = {"bird": 90, "cat": 3, "dog": 17}
    root = write_coco(tmp_path / "coco", {"train": toy_images(4), "val": toy_images(3, prefix="v", seed=1)}, ids)
    assert run("train", root, "--out", tmp_path / "run", "--epochs", 1, *TINY) == 0
    model = tmp_path / "run" / "model.safetensors"
    assert run("evaluate", model, root, "--split", "val", "--out", tmp_path / "report") == 0
    assert run("detect", model, root / "val", "--out", tmp_path / "found") == 0
    listing = json.loads((tmp_path / "found" / "images.json").read_text())
    assert {c["name"]: c["id"] for c in listing["categories"]} == ids
    rows = json.loads((tmp_path / "found" / "detections.json").read_text())
    assert {row["category_id"] for row in rows} <= set(ids.values())
    assert rows


@pytest.mark.parametrize("ids", [(1, 2, 3), (11, 90, 45)])
def test_the_id_scheme_changes_nothing(tmp_path: Path, ids: tuple[int, int, int]) -> None:
    def numbers(scheme: tuple[int, int, int], name: str) -> tuple[list[float], object]:
        root = write_coco(tmp_path / name, {"train": toy_images(4)}, dict(zip(CLASS_NAMES, scheme, strict=True)))
        out = tmp_path / f"{name}-run"
        assert run("train", root, "--out", out, "--epochs", 1, *TINY) == 0
        assert run("evaluate", out / "model.safetensors", root, "--split", "train", "--out", out / "report") == 0
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses = [line[part] for line in lines for part in ("proposal_objectness", "region_class", "region_box")]
        return losses, json.loads((out / "report" / "metrics.json").read_text())["coco"]

    assert numbers(ids, "other") == numbers((0, 1, 2), "zero")


def odd_files(folder: Path) -> None:
    """Replaces images of a VOC set by the same pixels in every odd form that occurs in the wild."""
    jpegs = sorted(folder.glob("*.jpg"))
    pixels = [Image.open(path).convert("RGB") for path in jpegs]
    pixels[0].convert("L").save(jpegs[0])
    pixels[2].convert("CMYK").save(jpegs[2])
    deep = np.asarray(pixels[3].convert("L")).astype(np.uint16) * 257
    jpegs[3].unlink()
    Image.fromarray(deep).save(jpegs[3].with_suffix(".png"))
    turned = pixels[4].transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer turns it back by 90 degrees clockwise
    turned.save(jpegs[4], exif=exif)
    jpegs[5].write_bytes(jpegs[5].read_bytes()[:200])


def test_a_data_set_with_everything_wrong_trains_and_evaluates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = toy_images(8)
    root = write_voc(tmp_path / "data", {"train": images, "test": images})
    odd_files(root / "JPEGImages")
    (root / "Annotations" / "image6.xml").unlink()
    broken = root / "Annotations" / "image7.xml"
    broken.write_text(broken.read_text().replace("<xmax>", "<xmax>9").replace("<ymin>", "<ymin>-"))
    assert run("train", root, "--out", tmp_path / "run", "--epochs", 2, *TINY) == 0
    told = capsys.readouterr().out
    assert "7 images, 2 of them empty" in told
    for kind in ("clipped-box", "unreadable-image", "no-label-file"):
        assert kind in told
    assert "image5" in told
    losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["region_class"]) and np.isfinite(line["proposal_box"]) for line in losses)
    model = tmp_path / "run" / "model.safetensors"
    assert run("evaluate", model, root, "--out", tmp_path / "report") == 0
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["num_images"] == 7


def test_each_tool_runs_as_a_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tools.info", "nothing.safetensors"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("tools.info", run_name="__main__", alter_sys=True)
    assert end.value.code == 2
    assert "no such file" in capsys.readouterr().err

"""Every command on a tiny data set, and what it says to wrong input."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders import CLASS_NAMES, random_pixels, save_image, toy_images, write_coco, write_voc
from tests.tools.running import run_main as run
from tests.tools.tiny_run import TINY


def test_demo_clears_its_own_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    assert run("demo", "--out", tmp_path) == 2
    assert "holds files that no demo made" in capsys.readouterr().err
    assert (tmp_path / "precious.txt").read_text() == "mine"


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


def test_the_threshold_holds_in_every_format_for_people(toy: Path, model: Path, tmp_path: Path) -> None:
    def rows_of(out: Path) -> list[int]:
        """Rows of csv, lines of yolo, objects of voc."""
        objects = (path.read_text().count("<object>") for path in (out / "voc").glob("*.xml"))
        lines = (len(path.read_text().splitlines()) for path in (out / "yolo").glob("[!c]*.txt"))
        return [len((out / "detections.csv").read_text().splitlines()) - 1, sum(lines), sum(objects)]

    options = ["--formats", "csv,yolo,voc", "--threshold"]
    assert run("detect", model, toy / "JPEGImages", "--out", tmp_path / "all", *options, 0) == 0
    scores = sorted(row["score"] for row in json.loads((tmp_path / "all/detections.json").read_text()))
    assert rows_of(tmp_path / "all") == [len(scores)] * 3
    middle = scores[len(scores) // 2]
    assert scores[0] < middle < scores[-1]
    assert run("detect", model, toy / "JPEGImages", "--out", tmp_path / "some", *options, middle) == 0
    expected = sum(score >= np.float32(middle) for score in scores)
    assert rows_of(tmp_path / "some") == [expected] * 3
    again = sorted(row["score"] for row in json.loads((tmp_path / "some/detections.json").read_text()))
    assert again == scores  # what is judged holds every score


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--threshold", 0.5], True),
        (["--threshold", 0.5, "--formats", "coco,csv"], False),
        (["--threshold", 0.5, "--images"], False),
        ([], False),
    ],
)
def test_a_threshold_without_anything_to_hold_for_is_told(
    toy: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[object], told: bool
) -> None:
    image = next((toy / "JPEGImages").iterdir())
    assert run("detect", model, image, "--out", tmp_path / "out", *options) == 0
    assert ("note: thresholds have no effect here" in capsys.readouterr().out) == told


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

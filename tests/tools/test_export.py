"""Exported files answer what their model answers, and a file that does not is not kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.build import load_detector
from detection.checkpoint import load_model, save_model
from detection.data.discover import load_dataset
from detection.data.image import read_image
from detection.errors import InputError
from detection.export import parity
from detection.export.document import ExportDocument
from detection.export.engine import ExportedDetector, engine_file, load_exported
from detection.extras import needed
from tests.builders import ToyImage, ToyObject, random_patches, random_pixels, save_image, write_voc
from tests.detection.lively import detector_of, make_lively_network, save_lively_model
from tests.detection.tiny import CLASSES
from tests.tools.running import run_main as run
from tools import evaluate
from tools.detectors import combine
from tools.export import _average_precision

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SIZES = [(96, 72), (60, 96), (96, 96)]  # not scaled: OpenCV does that in fixed point, a hair otherwise than a graph


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds much, and pictures."""
    folder = tmp_path_factory.mktemp("export")
    save_lively_model(folder)
    for number, size_hw in enumerate(SIZES):
        save_image(folder / f"photos/{number}.png", random_patches(size_hw, seed=number))
    return folder


def test_only_the_files_of_the_format_are_there(exported: Path) -> None:
    expected = {"model.onnx"} if exported.suffix == ".onnx" else {"model.xml", "model.bin"}
    assert {path.name for path in exported.parent.iterdir()} == expected


def test_it_carries_names_and_ids_along(exported: Path) -> None:
    detector = load_exported(exported)
    assert (detector.class_names, detector.category_ids) == (CLASSES, (1, 7, 9))
    assert detector.document.longest_side == 96


def test_a_batch_and_any_size_in_the_order_given(exported: Path) -> None:
    detector, source = load_exported(exported, precision="float32"), detector_of(make_lively_network())
    images = [random_patches(size_hw, seed) for seed, size_hw in enumerate([*SIZES, *SIZES])]
    for found, expected in zip(detector.detect_images(images), source.detect_images(images), strict=True):
        assert len(found) == len(expected) > 0
        torch.testing.assert_close(found.boxes, expected.boxes, atol=0.05, rtol=0)
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-3, rtol=0)
    assert detector.detect_images([]) == []
    (scaled,) = detector.detect_images([random_patches((300, 170))])
    assert scaled.image_size_hw == (300, 170)


def test_members_that_see_other_surroundings_and_any_number_of_images(tmp_path: Path) -> None:
    path = save_lively_model(tmp_path, contexts=[1.0, 1.5], members=4)
    for number, size_hw in enumerate(SIZES):
        save_image(tmp_path / f"photos/{number}.png", random_patches(size_hw, seed=number))
    assert run("export", path, "--to", "onnx", "--out", tmp_path, "--images", tmp_path / "photos") == 0
    detector, source = load_exported(tmp_path / "model.onnx"), load_detector(path, device="cpu", precision="float32")
    for batch in (1, 3):
        images = [random_patches((96, 72), seed) for seed in range(batch)]
        for found, expected in zip(detector.detect_images(images), source.detect_images(images), strict=True):
            assert len(found) == len(expected) > 0
            torch.testing.assert_close(found.boxes, expected.boxes, atol=0.05, rtol=0)
            torch.testing.assert_close(found.scores, expected.scores, atol=1e-3, rtol=0)


def test_an_image_of_another_type_is_refused(exported: Path) -> None:
    with pytest.raises(InputError, match=r"image 1: expected \(H, W, 3\) uint8 RGB, got float32"):
        load_exported(exported).detect_images([random_pixels((32, 32)), np.zeros((32, 32, 3), np.float32)])  # type: ignore[list-item]


@pytest.mark.parametrize(("label", "score"), [(3, 0.5), (-1, 0.5), (0, float("nan"))])
def test_answers_that_no_detector_gives_are_refused(label: int, score: float) -> None:
    answer = {
        "boxes": np.array([[0, 0, 9, 9]], np.float32),
        "scores": np.array([score], np.float32),
        "labels": np.array([label]),
        "image_index": np.array([0]),
    }
    document = ExportDocument(("cat", "dog", "bird"), (1, 2, 3), 64, 0.01, 100)
    detector = ExportedDetector(lambda images: answer, document)
    with pytest.raises(InputError, match="no numbers, or labels beyond its 3 classes"):
        detector.detect_images([random_pixels((32, 32))])


@pytest.mark.parametrize("field", ["longest_side", "score_threshold", "max_detections", "source"])
def test_a_document_of_other_types_is_refused(field: str) -> None:
    document = json.loads(ExportDocument(("cat",), (1,), 64, 0.01, 100).to_text())
    assert ExportDocument.from_text(json.dumps(document)).longest_side == 64
    with pytest.raises(ValueError, match="another type"):
        ExportDocument.from_text(json.dumps(document | {field: ["x"]}))


def test_an_image_of_one_pixel(exported: Path) -> None:
    found = load_exported(exported).run(np.full((2, 1, 1, 3), 120, dtype=np.uint8))
    assert found.keys() == {"boxes", "scores", "labels", "image_index"}
    assert len({len(values) for values in found.values()}) == 1


def test_a_file_that_answers_otherwise_is_not_kept(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "MAX_SCORE", -1.0)
    options = ["--to", "onnx", "--out", tmp_path / "out", "--images", work / "photos"]
    assert run("export", work / "model.safetensors", *options) == 2
    assert "answers otherwise" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_compared_is_nothing_kept(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, broken = tmp_path / "out", tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"no image")
    out.mkdir()
    (out / "model.onnx").write_bytes(b"an earlier export")
    for images, reason in (
        (broken, "none of the images to compare on can be read"),
        ("phots", "no such file or folder"),
    ):
        assert run("export", work / "model.safetensors", "--to", "onnx", "--out", out, "--images", images) == 2
        assert reason in capsys.readouterr().err
        assert [path.name for path in out.iterdir()] == ["model.onnx"]
        assert (out / "model.onnx").read_bytes() == b"an earlier export"


def test_images_on_which_nothing_is_found_compare_no_boxes(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "WEAK", 2.0)
    options = ["--to", "onnx", "--out", tmp_path, "--images", work / "photos"]
    assert run("export", work / "model.safetensors", *options) == 0
    assert "note: nothing was found on these images, so no box was compared" in capsys.readouterr().out


def test_photographs_on_which_nothing_is_found_are_no_proof(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "WEAK", 2.0)
    monkeypatch.setattr("tools.export.PHOTOGRAPHS", work / "photos")
    assert run("export", work / "model.safetensors", "--to", "onnx", "--out", tmp_path) == 2
    assert "no box was compared and it was not kept; name images that the model is for with --images" in (
        capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_objects_to_be_judged_on(exported: Path, tmp_path: Path) -> None:
    data = load_dataset(write_voc(tmp_path, {"test": [ToyImage("a", (60, 80))]}), "test", CLASSES)
    with pytest.raises(InputError, match="split 'test' has no object to judge int8 on"):
        _average_precision(exported, data, "auto")


@pytest.mark.parametrize(("options", "extra"), [(["--to", "openvino"], "openvino"), (["--to", "onnx"], "onnx")])
def test_packages_are_missed_before_any_work(
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    extra: str,
) -> None:
    monkeypatch.setattr("detection.extras.find_spec", lambda module: None)
    assert run("export", work / "model.safetensors", *options, "--out", tmp_path / "out") == 2
    assert f"is not installed; pip install 'multibox-rcnn[{extra}]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_input_is_answered_in_words(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", work / "model.safetensors", "--to", "tflite", "--out", tmp_path) == 2
    assert "choose from openvino, onnx" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"nowhere\.onnx: no such file"):
        load_exported(tmp_path / "nowhere.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"broken\.onnx: cannot be opened .*export the model again"):
        load_exported(tmp_path / "broken.onnx")
    with pytest.raises(InputError, match=r"absent_package is not installed; pip install 'multibox-rcnn\[onnx\]'"):
        needed("absent_package", "onnx")


def test_detect_and_evaluate_run_the_exported_file(
    exported: Path,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same boxes as in Python, by journal and resume; and AP beside that of the model it was made of."""
    assert run("detect", exported, work / "photos", "--out", tmp_path / "export") == 0
    found = json.loads((tmp_path / "export/detections.json").read_text())
    pixels = [read_image(work / f"photos/{number}.png") for number in range(len(SIZES))]
    expected = load_exported(exported).detect_images(pixels)
    assert len(found) == sum(map(len, expected)) > 0
    assert [each["score"] for each in found][: len(expected[0])] == pytest.approx(expected[0].scores.tolist())
    engine = "onnx" if exported.suffix == ".onnx" else "openvino"
    assert run("detect", exported.parent, work / "photos", "--out", tmp_path / "export", "--resume") == 0
    assert run("detect", exported.parent, work / "photos", "--out", tmp_path / "again", "--engine", engine) == 0
    assert (tmp_path / "again/detections.json").read_bytes() == (tmp_path / "export/detections.json").read_bytes()

    images = [ToyImage(str(n), hw, (ToyObject("cat", (5, 5, 50, 50)),)) for n, hw in enumerate(SIZES)]
    data = write_voc(tmp_path / "data", {"test": images})
    capsys.readouterr()
    assert run("evaluate", exported, data, "--out", tmp_path / "report") == 0
    assert f"of torch, {work / 'model.safetensors'}: " in capsys.readouterr().out
    assert (tmp_path / "report/metrics.json").is_file()
    passes = []
    monkeypatch.setattr(evaluate, "combine", lambda *args, **kwargs: passes.append(kwargs) or combine(*args, **kwargs))
    assert run("evaluate", exported, data, "--tile", 64, "--out", tmp_path / "tiled") == 0
    assert passes == [{"tile": 64, "tta": False}] * 2  # torch beside it makes the same


def test_an_export_says_when_its_source_is_gone(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = shutil.copy(work / "model.safetensors", tmp_path / "model.safetensors")
    assert run("export", moved, "--to", "onnx", "--out", tmp_path, "--images", work / "photos") == 0
    Path(moved).unlink()
    data = write_voc(tmp_path / "data", {"test": [ToyImage("a", (96, 96), (ToyObject("cat", (5, 5, 50, 50)),))]})
    assert run("evaluate", tmp_path, data, "--out", tmp_path / "report") == 0
    assert "not the model that was exported, or not there" in capsys.readouterr().out
    (warning,) = json.loads((tmp_path / "report/metrics.json").read_text())["warnings"][:1]
    assert warning.startswith("whether the model learnt from these images is not known")


def test_an_export_finds_its_source_from_any_folder(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made with relative paths, moved together with its source, and evaluated from somewhere else."""
    (tmp_path / "here/runs").mkdir(parents=True)
    shutil.copy(work / "model.safetensors", tmp_path / "here/runs/model.safetensors")
    monkeypatch.chdir(tmp_path / "here")
    assert run("export", "runs", "--to", "onnx", "--out", "exported/onnx", "--images", work / "photos") == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "there")
    data = write_voc(tmp_path / "data", {"test": [ToyImage("a", (96, 96), (ToyObject("cat", (5, 5, 50, 50)),))]})
    assert run("evaluate", tmp_path / "there/exported/onnx", data, "--out", tmp_path / "report") == 0
    assert f"of torch, {tmp_path / 'there/runs/model.safetensors'}: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tta"], "--tta: an exported file scales all images to one size"),
        (["--device", "cuda"], "exported files run on the processor"),
        (["--engine", "torch"], "a file for "),
        (["--engine", "tflite"], "choose from torch, openvino, onnx"),
        (["--thresholds", "best"], "multibox calibrate"),
    ],
)
def test_options_that_an_exported_file_has_no_use_for(
    exported: Path, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run("detect", exported, work / "photos", "--out", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err


def test_which_engine_runs_what(tmp_path: Path) -> None:
    assert engine_file(tmp_path, None) == ("torch", tmp_path / "model.safetensors")  # whose reader says what is missing
    (tmp_path / "model.onnx").touch()
    assert engine_file(tmp_path, None) == ("onnx", tmp_path / "model.onnx")
    (tmp_path / "model.xml").touch()
    assert engine_file(tmp_path, None)[0] == "openvino"
    assert engine_file(tmp_path, "onnx")[0] == "onnx"
    (tmp_path / "model.safetensors").touch()
    assert engine_file(tmp_path, None)[0] == "torch"
    assert engine_file(tmp_path / "small.xml", None) == ("openvino", tmp_path / "small.xml")
    with pytest.raises(InputError, match=r"model\.safetensors: no file for onnx; `multibox export MODEL --to onnx"):
        engine_file(tmp_path / "model.safetensors", "onnx")
    (tmp_path / "model.xml").unlink()
    with pytest.raises(InputError, match="no file for openvino"):
        engine_file(tmp_path, "openvino")


def test_a_folder_holds_the_exports_of_one_model(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", tmp_path, "--images", work / "photos"]
    assert run("export", work / "model.safetensors", "--to", "openvino", *options) == 0
    (tmp_path / "int8").mkdir()
    for name in ("model.xml", "model.bin"):
        shutil.copy(tmp_path / name, tmp_path / "int8" / name)
    assert run("export", work / "model.safetensors", "--to", "onnx", *options) == 0
    assert "removed" not in capsys.readouterr().out
    assert engine_file(tmp_path, None)[0] == "openvino"
    tensors, header = load_model(work / "model.safetensors")
    save_model(tmp_path / "other" / "model.safetensors", tensors, replace(header, note="another"))
    assert run("export", tmp_path / "other", "--to", "onnx", *options) == 0
    told = capsys.readouterr().out
    assert f"removed: {tmp_path / 'model.xml'}, which an earlier export made of another model" in told
    assert f"removed: {tmp_path / 'int8' / 'model.xml'}" in told
    assert {path.name for path in tmp_path.rglob("model.*")} == {"model.onnx", "model.safetensors"}


def test_only_so_many_images_are_compared_on(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--to", "onnx", "--out", tmp_path, "--images", work / "photos", "--compare", 2]
    assert run("export", work / "model.safetensors", *options) == 0
    assert "2 images, " in capsys.readouterr().out

"""A calibrated model where it is used: the detector's scores and the thresholds of ``multibox detect``."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import pytest
import torch

from detection.build import load_detector
from detection.calibration import Calibration, ScoreMap
from detection.errors import InputError
from tests.builders import random_pixels, save_image
from tests.detection.tiny import CLASSES, save_tiny_model
from tests.tools.running import run_command
from tools import detect as command

MAPS = (ScoreMap(0.5, 1.0), ScoreMap(1.5, -0.5), ScoreMap(1.0, 0.0))

run = partial(run_command, command.detect)


def write_model(path: Path, calibration: Calibration | None) -> Path:
    """An untrained model that detects everywhere."""
    entry = None if calibration is None else calibration.to_header(CLASSES)
    return save_tiny_model(path, lowest_score=0.0, calibration=entry)


def make_calibration(
    best: tuple[float | None, ...] = (None, None, None), precise: tuple[float | None, ...] = (1.0, 1.0, 1.0)
) -> Calibration:
    return Calibration(MAPS, {"best": best, "precise": precise}, {"split": "val"})


def test_the_detector_maps_the_scores_of_its_network(tmp_path: Path) -> None:
    plain = load_detector(write_model(tmp_path / "plain.safetensors", None), device="cpu", precision="float32")
    path = write_model(tmp_path / "mapped.safetensors", make_calibration())
    mapped = load_detector(path, device="cpu", precision="float32")
    image = random_pixels((70, 90))
    assert plain.calibration is None

    expected = make_calibration().apply(plain.detect_image(image))
    found = mapped.detect_image(image)

    assert len(found) > 0
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.scores, expected.scores)
    assert (found.scores.diff() <= 0).all()
    mapped.calibration = None
    assert torch.equal(mapped.detect_image(image).scores, plain.detect_image(image).scores)


def test_a_calibration_of_other_classes_is_refused(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "m.safetensors", calibration={"classes": {}})

    with pytest.raises(InputError, match="do not fit together: calibration: expected classes and fitted_on"):
        load_detector(tmp_path / "m.safetensors")


def test_thresholds_of_each_class_cut_the_results_for_people(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save_image(photos / "a.png", random_pixels((70, 90)))
    path = write_model(tmp_path / "m.safetensors", make_calibration())
    found = load_detector(path, device="cpu", precision="float32").detect_image(random_pixels((70, 90)))
    middle = float(found.scores[found.labels == 0].median())
    write_model(path, make_calibration((middle, None, 1.0)))

    chosen = ("--formats", "csv", "--device", "cpu")
    assert run(path, photos, "--out", tmp_path / "out", *chosen, "--threshold", 0, "--thresholds", "best") == 0
    with (tmp_path / "out" / "detections.csv").open(encoding="utf-8", newline="") as file:
        text = file.read()
    counts = [sum(name in row for row in csv.reader(text.splitlines())) for name in CLASSES]
    everything = json.loads((tmp_path / "out" / "detections.json").read_text())
    of_class = [sum(row["category_id"] == number for row in everything) for number in (1, 2, 3)]

    assert of_class[1] == counts[1] > 0  # no threshold of its own, so --threshold
    assert 0 < counts[0] < of_class[0]
    assert (counts[2], of_class[2] > 0) == (0, True)


def test_a_calibrated_model_has_its_best_thresholds_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "photos/a.png", random_pixels((70, 90)))
    path = write_model(tmp_path / "m.safetensors", make_calibration((1.0, 1.0, 1.0)))

    def num_rows(*options: object) -> int:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        assert run(path, tmp_path / "photos", "--out", out, "--formats", "csv", "--device", "cpu", *options) == 0
        return len((out / "detections.csv").read_text(encoding="utf-8").splitlines()) - 1

    told = "lowest score of each class: the best that `multibox calibrate` found"
    assert num_rows() == 0
    assert told in capsys.readouterr().out
    assert num_rows("--threshold", 0.0) > 0
    assert told not in capsys.readouterr().out
    num_rows("--tta")
    assert "lowest score: 0.3; the thresholds of a calibrated model hold for itself alone" in capsys.readouterr().out
    write_model(path, make_calibration((1.0, None, 1.0)))
    num_rows()
    assert f"{told}, 0.3 for {CLASSES[1]} (" in capsys.readouterr().out
    assert run(path, tmp_path / "photos", "--out", tmp_path / "json", "--device", "cpu") == 0
    assert told not in capsys.readouterr().out  # detections.json holds every score


def test_a_class_that_is_never_precise_enough_has_nothing_where_precision_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "photos/a.png", random_pixels((70, 90)))
    path = write_model(tmp_path / "m.safetensors", make_calibration(precise=(0.0, None, 0.0)))

    def classes(out: str, *options: object) -> set[str]:
        chosen = ("--formats", "csv", "--device", "cpu", "--thresholds", "precise", *options)
        assert run(path, tmp_path / "photos", "--out", tmp_path / out, *chosen) == 0
        with (tmp_path / out / "detections.csv").open(encoding="utf-8", newline="") as file:
            return {row["class"] for row in csv.DictReader(file)}

    assert classes("out") == {CLASSES[0], CLASSES[2]}
    assert f"nothing of {CLASSES[1]}, which no score makes precise enough" in capsys.readouterr().out
    assert classes("again", "--threshold", 0) == set(CLASSES)
    assert f"0 for {CLASSES[1]}" in capsys.readouterr().out


def test_thresholds_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "a.png", random_pixels((30, 40)))
    plain = write_model(tmp_path / "plain.safetensors", None)
    assert run(plain, tmp_path, "--out", tmp_path / "out", "--thresholds", "best") == 2
    assert "this model has none; let `multibox calibrate" in capsys.readouterr().err
    assert run(plain, tmp_path, "--out", tmp_path / "out", "--thresholds", "good") == 2
    assert "good is not known; choose from best, precise" in capsys.readouterr().err

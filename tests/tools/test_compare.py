"""``multibox compare``: two folders of reports in, a table, a page and numbers out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.evaluation.class_boxes import pack_split
from detection.evaluation.judged_file import JudgedSplit, write_judged
from detection.predictions import ImageDetections
from detection.predictions import write_coco as write_results
from detection.structures import Detections
from tests.builders import toy_images, write_coco
from tests.evaluation.splits import perfect_detections
from tests.tools.running import run_command, run_main
from tools.compare import compare
from tools.evaluate import evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DetectionData:
    root = write_coco(tmp_path_factory.mktemp("data") / "toy", {"test": toy_images(8)})
    return load_dataset(root, "test")


def write_report(folder: Path, data: DetectionData, detections: Mapping[int, Detections]) -> Path:
    judged = JudgedSplit.of(
        data,
        pack_split(data, detections),
        score_thresholds=np.full(len(data.class_names), 0.5),
        max_detections=100,
        context={"model": "<i>best</i>.safetensors", "split": "test"},
    )
    write_judged(folder, judged)
    return folder


@pytest.fixture
def reports(data: DetectionData, tmp_path: Path) -> tuple[Path, Path]:
    """The first finds everything, the second nothing on the first image."""
    everything = perfect_detections(data)
    fewer = {image_id: found for image_id, found in everything.items() if image_id != data.images[0].image_id}
    return write_report(tmp_path / "all", data, everything), write_report(tmp_path / "fewer", data, fewer)


def test_the_seed_is_the_one_that_was_given(reports: tuple[Path, Path], tmp_path: Path) -> None:
    for seed in (0, 7):
        options = ["--out", tmp_path / str(seed), "--resamples", 100, "--seed", seed]
        assert run_command(compare, *reports, *options) == 0
        assert json.loads((tmp_path / str(seed) / "compare.json").read_text())["seed"] == seed


def test_table_page_and_numbers(
    reports: tuple[Path, Path], data: DetectionData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(compare, *reports, "--out", tmp_path / "out", "--resamples", 200) == 0
    told = capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    lost = int((~data.images[0].ignore).sum())
    assert document["at_best_thresholds"]["only_a"] == lost > 0
    assert document["at_best_thresholds"]["only_b"] == 0
    assert [row["file_name"] for row in document["images"]] == [data.images[0].file_name]
    measured = document["measures"]["AP"]
    assert measured["a"]["value"] == pytest.approx(1.0)
    assert measured["difference"]["value"] == pytest.approx(1 - measured["b"]["value"])
    assert measured["share_b_better"] == 0.0
    assert f"{lost} objects only A finds, 0 only B" in told
    assert f"1 of {len(data.images)} images changed" in told
    assert "[1.000..1.000]" in told
    assert "AP: " in told
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 1
    assert page.count('<use href="#pixels1"/>') == 1
    assert page.count('<rect class="missed"') == lost
    assert "&lt;i&gt;best&lt;/i&gt;" in page
    assert "<i>best" not in page
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert "<script" not in page


def test_reports_as_evaluate_writes_them(
    data: DetectionData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = perfect_detections(data)
    for name, found in (("all", everything), ("none", {})):
        listed = [
            ImageDetections(record.image_id, record.file_name, found.get(record.image_id, Detections.empty((9, 9))))
            for record in data.images
        ]
        write_results(tmp_path / name, listed, class_names=data.class_names, category_ids=data.category_ids)
        assert (
            run_command(evaluate, tmp_path / name / "detections.json", data.root, "--out", tmp_path / f"{name}1") == 0
        )
    assert "95 % intervals over images  AP 0.000 [0.000..0.000]" in capsys.readouterr().out
    options = ("--out", tmp_path / "out", "--resamples", 100)
    assert run_command(compare, tmp_path / "all1", tmp_path / "none1", *options) == 0
    measured = json.loads((tmp_path / "out" / "compare.json").read_text())["measures"]["AP"]
    metrics = json.loads((tmp_path / "all1" / "metrics.json").read_text())
    assert measured["a"]["value"] == pytest.approx(metrics["coco"]["AP"], abs=1e-9)
    assert measured["b"]["value"] == 0.0
    assert measured["verdict"] == "a"


def test_the_same_report_twice(reports: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("compare", reports[1], reports[1], "--out", tmp_path / "out", "--resamples", 100) == 0
    assert "AP: no difference in any resample" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["images"] == []
    assert all(each["difference"]["value"] == 0.0 for each in document["measures"].values())
    assert "None: both find the same objects" in (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")


def test_moved_images_are_noted_and_found_again(
    reports: tuple[Path, Path], data: DetectionData, tmp_path: Path
) -> None:
    gone = replace(data, root=tmp_path / "gone")
    gone = replace(
        gone,
        images=tuple(
            replace(record, path=gone.root / record.path.resolve().relative_to(data.root.resolve()))
            for record in data.images
        ),
    )
    moved = [write_report(tmp_path / name, gone, found) for name, found in (("c", perfect_detections(data)), ("d", {}))]
    assert run_command(compare, *moved, "--out", tmp_path / "noted", "--resamples", 100) == 0
    noted = (tmp_path / "noted" / "compare.html").read_text(encoding="utf-8")
    assert "No picture:" in noted
    assert "data:image/jpeg" not in noted
    arguments = ("--data", data.root, "--out", tmp_path / "found", "--resamples", 100)
    assert run_command(compare, *moved, *arguments) == 0
    assert "data:image/jpeg" in (tmp_path / "found" / "compare.html").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_told(
    reports: tuple[Path, Path], data: DetectionData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(compare, reports[0], tmp_path, "--out", tmp_path / "out") == 2
    assert "holds no evaluation.npz" in capsys.readouterr().err
    part = write_report(tmp_path / "part", replace(data, images=data.images[:2]), {})
    assert run_command(compare, reports[0], part, "--out", tmp_path / "out") == 2
    assert "A has 8 images and B 2, 6 of them only in A" in capsys.readouterr().err
    assert run_command(compare, *reports, "--out", tmp_path / "out", "--data", tmp_path / "nowhere") == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

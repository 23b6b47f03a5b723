"""The report in a browser: its script runs under its own policy, and the slider moves table and boxes.

Left out where no Chromium is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from detection.data.records import DetectionData
from detection.evaluation.explanation import explain
from detection.evaluation.report import write_report
from detection.evaluation.score_table import STEPS, Cut, score_tables
from detection.evaluation.summary import Evaluation, evaluate_detections
from detection.structures import Detections
from tests.evaluation.splits import SIZE_HW, make_detections, make_record, make_split

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium here")]

A, B, NOWHERE = (20, 20, 60, 60), (100, 50, 250, 180), (0, 150, 40, 190)
NAMES = ("</script><script>document.title='injected'</script>", "dog")


def opened(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page as it stands once its scripts have run, and the lines of its console."""
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={profile}"]
    command = [BROWSER, *options, "--dump-dom", page.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def example(folder: Path) -> tuple[DetectionData, dict[int, Detections]]:
    path = folder / "grey.png"
    cv2.imwrite(str(path), np.full((*SIZE_HW, 3), 128, dtype=np.uint8))
    data = make_split([make_record(1, [(A, 0), (B, 1)], path=path)], class_names=NAMES)
    return data, {1: make_detections([(A, 0.75, 0), (NOWHERE, 0.5, 0), (B, 0.25, 1), (NOWHERE, 0.3, 1)])}


def written(folder: Path) -> tuple[Path, Evaluation]:
    data, found = example(folder)
    evaluation = evaluate_detections(data, found)
    write_report(folder, data, evaluation, explain(data, found, evaluation), title="Cells", context={})
    return folder / "report.html", evaluation


def cells_of(dom: str) -> list[dict[str, str]]:
    rows = re.findall(r'<tr data-label="\d+">(.*?)</tr>', dom, re.DOTALL)
    return [dict(re.findall(r'data-cell="(\w+)">([^<]*)<', row)) for row in rows]


def test_the_script_runs_and_complains_of_nothing(tmp_path: Path) -> None:
    page, _ = written(tmp_path)
    dom, console = opened(page, tmp_path / "profile")
    assert console == []
    assert "<title>Cells</title>" in dom
    assert re.search(r'id="control"[^>]*hidden', dom) is None  # shown by the script


@pytest.mark.parametrize("place", [40, 80, 120, 199])
def test_the_slider_moves_table_and_boxes(place: int, tmp_path: Path) -> None:
    page, evaluation = written(tmp_path)
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    gesture = f"const s = document.getElementById('threshold'); s.value = {place}; s.dispatchEvent(new Event('input'));"
    moved = tmp_path / "moved.html"
    moved.write_text(text.replace("</body>", f"<script>{gesture}</script></body>"), encoding="utf-8")
    dom, console = opened(moved, tmp_path / "profile")
    assert console == []
    threshold = place / STEPS
    shown = [Cut(int(row["right"]), int(row["false"]), int(row["missed"])) for row in cells_of(dom)]
    assert shown == [table.cut(threshold) for table in score_tables(evaluation.per_class).values()]
    assert {row["threshold"] for row in cells_of(dom)} == {f"{threshold:.3f}"}
    boxes = re.findall(r'<rect class="(\w+) *([^"]*)" x=[^>]*data-score="([-\d.]+)"', dom)
    assert boxes
    for kind, state, score in boxes:
        assert (("missed" if kind == "truth" else "off") in state.split()) == (float(score) < threshold), (kind, score)

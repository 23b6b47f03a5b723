"""The report in a browser: its script runs under its own policy; slider, thresholds, sorting, cells and boxes act.

Left out where no Chromium is installed.
"""

from __future__ import annotations

import html
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


def acted(folder: Path, gesture: str) -> tuple[str, Evaluation]:
    """The page as it stands after a gesture of a reader, told as a script that its policy would not let run."""
    page, evaluation = written(folder)
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    moved = folder / "moved.html"
    moved.write_text(text.replace("</body>", f"<script>{gesture}</script></body>"), encoding="utf-8")
    dom, console = opened(moved, folder / "profile")
    assert console == []
    return dom, evaluation


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
    gesture = f"const s = document.getElementById('threshold'); s.value = {place}; s.dispatchEvent(new Event('input'));"
    dom, evaluation = acted(tmp_path, gesture)
    threshold = place / STEPS
    shown = [Cut(int(row["right"]), int(row["false"]), int(row["missed"])) for row in cells_of(dom)]
    assert shown == [table.cut(threshold) for table in score_tables(evaluation.per_class).values()]
    assert {row["threshold"] for row in cells_of(dom)} == {f"{threshold:.3f}"}
    boxes = re.findall(r'<rect class="(\w+) *([^"]*)" x=[^>]*data-score="([-\d.]+)"', dom)
    assert boxes
    for kind, state, score in boxes:
        assert (("missed" if kind == "truth" else "off") in state.split()) == (float(score) < threshold), (kind, score)


def test_a_class_that_never_reaches_the_precision_shows_nothing(tmp_path: Path) -> None:
    """The other class does at 0.75; of the dogs, 0.3 wrong and 0.25 right, at most every second is right."""
    dom, evaluation = acted(tmp_path, "document.querySelector('button[data-mode=precise]').click();")
    assert [table.precise for table in score_tables(evaluation.per_class).values()] == [0.75, None]
    reached, never = cells_of(dom)
    assert (reached["threshold"], reached["right"], reached["false"], reached["missed"]) == ("0.750", "1", "0", "0")
    nothing = {"right": "0", "false": "0", "missed": "1", "precision": "n/a", "recall": "0.000", "f1": "0.000"}
    assert never == {"threshold": "n/a", **nothing}
    boxes = re.findall(r'<rect class="(\w+) *([^"]*)" x=[^>]*data-score="[^"]*" data-label="1"', dom)
    assert {kind for kind, _ in boxes} == {"truth", "right", "wrong"}
    assert all(("missed" if kind == "truth" else "off") in state.split() for kind, state in boxes)
    assert re.search(r'<line class="at" data-at="1"[^>]* style="display: none;"', dom)
    assert 'data-mode="precise" aria-pressed="true"' in dom


@pytest.mark.parametrize(("presses", "rows", "state"), [(1, ["0", "1"], "descending"), (2, ["1", "0"], "ascending")])
def test_heads_sort_by_number(presses: int, rows: list[str], state: str, tmp_path: Path) -> None:
    press = "document.querySelectorAll('#classes th button')[4].click();"
    dom, _ = acted(tmp_path, press * presses)
    assert re.findall(r'<tr data-label="(\d+)">', dom) == rows  # thresholds 0.75 and 0.25
    assert re.findall(r'aria-sort="(\w+ending)"><button[^>]*>([^<]*)<', dom) == [(state, "Threshold")]


def test_a_pressed_cell_names_its_images(tmp_path: Path) -> None:
    dom, _ = acted(tmp_path, "document.querySelector('td[data-images] button').click();")
    (told,) = re.findall(r'<p[^>]* id="cell-images"[^>]*>(.*?)</p>', dom)
    assert told == 'false dog: <a href="#image-0">image1.jpg</a>'


@pytest.mark.parametrize(
    ("gesture", "name"),
    [
        ("boxes.at(-1).dispatchEvent(new Event('click', { bubbles: true }));", "0.750"),
        ("press('ArrowRight');", "label: "),
        ("press('ArrowLeft');", "0.750"),
        ("press('ArrowRight'); press('ArrowRight');", "label: dog"),
        ("press('ArrowRight'); press('ArrowLeft');", "0.750"),
        ("press('Tab');", ""),
    ],
)
def test_boxes_are_named_without_a_mouse(gesture: str, name: str, tmp_path: Path) -> None:
    """The best detection lies on top; the other class has a name that is markup, of which nothing may become so."""
    start = (
        "const svg = document.querySelector('#image-0 svg'); const boxes = [...svg.querySelectorAll('rect')];"
        "const press = (key) => svg.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));"
    )
    dom, _ = acted(tmp_path, start + gesture)
    figure = dom[dom.index('id="image-0"') :]
    told = html.unescape(re.findall(r'<p class="told small" aria-live="polite">(.*?)</p>', figure)[0])
    expected = {"0.750": f"{NAMES[0]} 0.750", "label: ": f"label: {NAMES[0]}"}
    assert told == expected.get(name, name)
    assert len(re.findall(r'<rect class="[^"]*chosen"', figure)) == bool(name)
    assert re.search(r'<svg[^>]*aria-label="Boxes on image1.jpg" tabindex="0"', figure)

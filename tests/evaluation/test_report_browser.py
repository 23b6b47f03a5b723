"""The report in a browser: its script runs under its own policy; slider, thresholds, sorting, cells and boxes act.

Left out where no Chromium is installed; `.ci/run` installs one.
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from detection.data.records import DetectionData
from detection.evaluation.explanation import explain
from detection.evaluation.report import write_report
from detection.evaluation.score_table import STEPS, Cut, score_tables
from detection.evaluation.summary import Evaluation, evaluate_detections
from detection.structures import Detections
from tests.evaluation.splits import SIZE_HW, make_detections, make_record, make_split

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium here")]

# Without these a browser greets its makers at every start.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")

A, B, NOWHERE = (20, 20, 60, 60), (100, 50, 250, 180), (0, 150, 40, 190)
NAMES = ("</script><script>document.title='injected'</script>", "dog")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", *QUIET])
        yield started
        started.close()


@dataclass
class Shown:
    """A page on the screen, what it said on the console, and every address it asked for."""

    page: Page
    console: list[str]
    requests: list[str]

    @property
    def dom(self) -> str:
        return self.page.content()


def show(browser: Browser, path: Path, **options: object) -> Shown:
    page = browser.new_page(**options)
    shown = Shown(page, [], [])
    page.on("console", lambda message: shown.console.append(message.text))
    page.on("pageerror", lambda error: shown.console.append(str(error)))
    page.on("request", lambda request: shown.requests.append(request.url))
    page.goto(path.as_uri())
    return shown


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


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[tuple[Shown, Evaluation]]:
    path, evaluation = written(tmp_path)
    opened = show(browser, path)
    yield opened, evaluation
    assert opened.console == []
    opened.page.close()


def cells_of(dom: str) -> list[dict[str, str]]:
    rows = re.findall(r'<tr data-label="\d+">(.*?)</tr>', dom, re.DOTALL)
    return [dict(re.findall(r'data-cell="(\w+)">([^<]*)<', row)) for row in rows]


def test_the_script_runs_and_complains_of_nothing(shown: tuple[Shown, Evaluation], tmp_path: Path) -> None:
    opened, _ = shown
    assert opened.page.title() == "Cells"
    assert opened.page.locator("#control").is_visible()  # shown by the script
    assert opened.page.evaluate("[...document.images].map((image) => image.naturalWidth > 0)") == [True, True]
    here = (tmp_path / "report.html").as_uri()
    assert [url for url in opened.requests if not url.startswith("data:")] == [here]


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_sticks_out_sideways(width: int, browser: Browser, tmp_path: Path) -> None:
    opened = show(browser, written(tmp_path)[0], viewport={"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.close()


def test_light_and_dark(browser: Browser, tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    colours = []
    for scheme in ("light", "dark"):
        opened = show(browser, path, color_scheme=scheme)
        paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        colours.append(sum(int(number) for number in re.findall(r"\d+", paper)[:3]))
        opened.page.close()
    assert colours[0] > 600
    assert colours[1] < 200


@pytest.mark.parametrize("place", [40, 80, 120, 199])
def test_the_slider_moves_table_and_boxes(place: int, shown: tuple[Shown, Evaluation]) -> None:
    opened, evaluation = shown
    opened.page.locator("#threshold").fill(str(place))
    dom = opened.dom
    threshold = place / STEPS
    shown = [Cut(int(row["right"]), int(row["false"]), int(row["missed"])) for row in cells_of(dom)]
    assert shown == [table.cut(threshold) for table in score_tables(evaluation.per_class).values()]
    assert {row["threshold"] for row in cells_of(dom)} == {f"{threshold:.3f}"}
    boxes = re.findall(r'<rect class="(\w+) *([^"]*)" x=[^>]*data-score="([-\d.]+)"', dom)
    assert boxes
    for kind, state, score in boxes:
        assert (("missed" if kind == "truth" else "off") in state.split()) == (float(score) < threshold), (kind, score)


def test_a_class_that_never_reaches_the_precision_shows_nothing(shown: tuple[Shown, Evaluation]) -> None:
    """The other class does at 0.75; of the dogs, 0.3 wrong and 0.25 right, at most every second is right."""
    opened, evaluation = shown
    opened.page.locator("button[data-mode=precise]").click()
    dom = opened.dom
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
def test_heads_sort_by_number(presses: int, rows: list[str], state: str, shown: tuple[Shown, Evaluation]) -> None:
    opened, _ = shown
    for _ in range(presses):
        opened.page.locator("#classes th button").nth(4).click()
    dom = opened.dom
    assert re.findall(r'<tr data-label="(\d+)">', dom) == rows  # thresholds 0.75 and 0.25
    assert re.findall(r'aria-sort="(\w+ending)"><button[^>]*>([^<]*)<', dom) == [(state, "Threshold")]


def test_a_pressed_cell_names_its_images(shown: tuple[Shown, Evaluation]) -> None:
    opened, _ = shown
    opened.page.locator("td[data-images] button").first.click()
    (told,) = re.findall(r'<p[^>]* id="cell-images"[^>]*>(.*?)</p>', opened.dom)
    assert told == 'false dog: <a href="#image-0">image1.jpg</a>'


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("", "0.750"),
        ("ArrowRight", "label: "),
        ("ArrowLeft", "0.750"),
        ("ArrowRight ArrowRight", "label: dog"),
        ("ArrowRight ArrowLeft", "0.750"),
        ("Tab", ""),
    ],
)
def test_boxes_are_named_without_a_mouse(keys: str, name: str, shown: tuple[Shown, Evaluation]) -> None:
    """The best detection lies on top; the other class has a name that is markup, of which nothing may become so."""
    opened, _ = shown
    picture = opened.page.locator("#image-0 svg")
    if not keys:
        picture.locator("rect").last.dispatch_event("click")
    for key in keys.split():
        picture.press(key)
    dom = opened.dom
    figure = dom[dom.index('id="image-0"') :]
    told = html.unescape(re.findall(r'<p class="told small" aria-live="polite">(.*?)</p>', figure)[0])
    expected = {"0.750": f"{NAMES[0]} 0.750", "label: ": f"label: {NAMES[0]}"}
    assert told == expected.get(name, name)
    assert len(re.findall(r'<rect class="[^"]*chosen"', figure)) == bool(name)
    assert re.search(r'<svg[^>]*aria-label="Boxes on image1.jpg" tabindex="0"', figure)

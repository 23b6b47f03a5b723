"""The report: key figures present, nothing fetched, nothing injected, nothing left half written."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from detection.data.records import DetectionData, Finding
from detection.evaluation.report import write_report
from detection.evaluation.report_view import MAX_CURVES, curve_plots, reliability_plot
from detection.evaluation.summary import Evaluation, evaluate_detections
from detection.structures import Detections
from tests.evaluation.splits import SIZE_HW, make_detections, make_record, make_split, perfect_detections

A, B = (20, 20, 60, 60), (100, 50, 250, 180)
HOSTILE = '<script>alert("x")</script>'


class Page(HTMLParser):
    """The elements, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects the tag and its links."""
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "xlink:href")]

    def handle_data(self, data: str) -> None:
        """Collects the text, spaces made single."""
        self.text += " " + " ".join(data.split())


def assert_self_contained(text: str) -> None:
    """A hostile text stays text, and nothing but pictures inside the page is looked at."""
    page = Page(text)
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert 'onload="alert' not in text
    assert page.links
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "http" not in text
    assert "url(" not in text


@pytest.fixture
def image_path(tmp_path: Path) -> Path:
    """A grey image of the size of every record."""
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((*SIZE_HW, 3), 128, dtype=np.uint8))
    return path


def write(out: Path, data: DetectionData, evaluation: Evaluation, found: dict[int, Detections] | None = None) -> Page:
    """Writes a report and opens the page."""
    write_report(out, data, found or {}, evaluation, title="Blood cells", context={"Model": "run/model"})
    return Page((out / "report.html").read_text(encoding="utf-8"))


def test_the_page_holds_the_key_figures(tmp_path: Path, image_path: Path) -> None:
    finding = Finding("degenerate-box", "image2.xml", "object 3 has no width", "mend it; it was left out")
    records = [make_record(1, [(A, 0), (B, 1)], path=image_path), make_record(2, [(A, 0)], path=tmp_path / "gone.png")]
    data = make_split(records, findings=[finding])
    found = {1: make_detections([(B, 0.9375, 0), (A, 0.875, 0)])}
    proposals = {"recall@10": 0.9471}
    evaluation = evaluate_detections(data, found, proposals=proposals, failures={"image2.jpg": "is truncated"})
    page = write(tmp_path / "out", data, evaluation, found)
    # cat: wrong, then right: precision 1/2 at recall 1/2 -> VOC07 3/11, VOC12 1/4; dog 0 -> means 3/22 and 1/8.
    for text in ("Blood cells", "run/model", "0.136", "0.125", "0.875", "recall@10", "0.947", "n/a (no small objects)"):
        assert text in page.text, text
    assert f"{evaluation.coco['AP']:.3f}" in page.text
    assert "degenerate-box" in page.text
    assert "object 3 has no width; mend it; it was left out" in page.text
    assert "is truncated" in page.text
    assert "1 missed, 1 false" in page.text
    assert "No picture:" in page.text
    assert page.tags.count("img") == 2
    assert page.tags.count("polyline") == 3  # two classes, and what scores are worth


def test_metrics_json_is_what_the_evaluation_says(tmp_path: Path) -> None:
    data = make_split([make_record(1, [(A, 0)])])
    evaluation = evaluate_detections(data, perfect_detections(data))
    page = write(tmp_path, data, evaluation, perfect_detections(data))
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(evaluation.to_metrics()))
    assert "No object is missed" in page.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "report.html"]


def test_nothing_is_fetched_and_no_text_becomes_markup(tmp_path: Path, image_path: Path) -> None:
    records = [make_record(1, [(A, 0)], path=image_path)]
    findings = [Finding(HOSTILE, HOSTILE, HOSTILE, HOSTILE)]
    data = make_split(records, class_names=[HOSTILE, '" onload="alert(1)'], findings=findings)
    evaluation = evaluate_detections(data, {}, failures={HOSTILE: HOSTILE})
    write_report(tmp_path, data, {}, evaluation, title=HOSTILE, context={HOSTILE: HOSTILE})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert_self_contained(text)


def test_missing_numbers_are_told_in_words(tmp_path: Path) -> None:
    data = make_split([make_record(1)])
    page = write(tmp_path, data, evaluate_detections(data, {}))
    assert "n/a (no medium objects)" in page.text
    assert "No class has objects, so there is no curve." in page.text
    assert "-1" not in page.text
    assert "None" not in page.text


def test_a_split_without_images_still_gives_a_report(tmp_path: Path) -> None:
    data = make_split([], class_names=[])
    assert "0 images, 0 objects, 0 classes" in write(tmp_path, data, evaluate_detections(data, {})).text


def test_only_the_most_frequent_classes_have_curves() -> None:
    number = MAX_CURVES + 2
    # Class k has k + 1 objects, so classes 0 and 1 are the rarest.
    objects = [((8 * column, 0, 8 * column + 4, 4), label) for label in range(number) for column in range(label + 1)]
    data = make_split([make_record(1, objects)], class_names=[f"class{label}" for label in range(number)])
    plots = curve_plots(evaluate_detections(data, {}).per_class)
    assert [plot.name for plot in plots] == [f"class{label}" for label in range(2, number)]


def test_the_curve_is_drawn_with_precision_upwards() -> None:
    data = make_split([make_record(1, [(A, 0), (B, 0)])], class_names=["cat"])
    found = {1: make_detections([(A, 0.75, 0), ((0, 0, 5, 5), 0.5, 0), (B, 0.25, 0)])}
    (plot,) = curve_plots(evaluate_detections(data, found).per_class)
    assert plot.line == "0.0,0.0 50.0,0.0 50.0,50.0 100.0,33.3"
    assert plot.area == "0.0,0.0 50.0,0.0 50.0,33.3 100.0,33.3 100.0,100.0 0.0,100.0"
    assert plot.marker == (100.0, 33.3)


def test_the_plot_of_scores_by_hand() -> None:
    """0.75 right, 0.5 wrong, 0.25 right: error (0.25 + 0.5 + 0.75) / 3, mean score 1/2 where 2/3 are right."""
    data = make_split([make_record(1, [(A, 0), (B, 0)])], class_names=["cat"])
    found = {1: make_detections([(A, 0.75, 0), ((0, 0, 5, 5), 0.5, 0), (B, 0.25, 0)])}
    plot = reliability_plot(evaluate_detections(data, found).per_class)
    assert plot is not None
    assert [(round(bar.x), round(bar.width), bar.height) for bar in plot.bars] == [
        (20, 10, 100),
        (50, 10, 0),
        (70, 10, 100),
    ]
    assert plot.line == "25.0,0.0 50.0,100.0 75.0,0.0"
    assert plot.error == pytest.approx(0.5)
    assert plot.promise == "on the mean they promise 0.167 too little"
    assert reliability_plot(evaluate_detections(data, {}).per_class) is None
    assert reliability_plot({}) is None

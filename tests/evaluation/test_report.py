"""The report: key figures present, nothing fetched, nothing injected, nothing left half written."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detection.data.records import DetectionData, Finding
from detection.evaluation.coco_map import CocoSettings
from detection.evaluation.explanation import explain
from detection.evaluation.page import script_json
from detection.evaluation.report import write_report
from detection.evaluation.report_view import MAX_CURVES, curve_plots, reliability_plot
from detection.evaluation.stage_blame import Examined
from detection.evaluation.summary import Evaluation, EvaluationSettings, evaluate_detections
from detection.structures import Detections
from tests.evaluation.splits import (
    make_detections,
    make_record,
    make_split,
    perfect_detections,
    random_split,
)

A, B = (20, 20, 60, 60), (100, 50, 250, 180)
HOSTILE = "</script><script>alert(1)</script>\u2028"


class Page(HTMLParser):
    """The elements, links, texts and scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects the tag and its links."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "xlink:href")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        """Collects the text, spaces made single."""
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem is None and data.strip():
            self.text += " " + " ".join(data.split())

    @property
    def embedded(self) -> dict[str, Any]:
        """What the script of the page reads."""
        document: dict[str, Any] = json.loads(self.scripts[0])
        return document


def assert_self_contained(text: str, *, num_scripts: int = 0) -> None:
    """A hostile text stays text, and nothing but pictures inside the page is looked at."""
    page = Page(text)
    assert page.tags.count("script") == num_scripts
    assert HOSTILE.strip() in page.text
    assert "<script>alert" not in text
    assert 'onload="alert' not in text
    links = [link for link in page.links if not link.startswith("#")]
    assert links
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest", text) is None


def write(
    out: Path,
    data: DetectionData,
    found: dict[int, Detections],
    evaluation: Evaluation | None = None,
    examined: dict[int, Examined] | None = None,
) -> Page:
    """Writes a report and opens the page."""
    evaluation = evaluation or evaluate_detections(data, found)
    explanation = explain(data, found, evaluation, examined)
    write_report(out, data, evaluation, explanation, title="Blood cells", context={"Model": "run/model"})
    return Page((out / "report.html").read_text(encoding="utf-8"))


def test_the_page_holds_the_key_figures(tmp_path: Path, image_path: Path) -> None:
    finding = Finding("degenerate-box", "image2.xml", "object 3 has no width", "mend it; it was left out")
    records = [make_record(1, [(A, 0), (B, 1)], path=image_path), make_record(2, [(A, 0)], path=tmp_path / "gone.png")]
    data = make_split(records, findings=[finding])
    found = {1: make_detections([(B, 0.9375, 0), (A, 0.875, 0)])}
    proposals = {"recall@10": 0.9471}
    evaluation = evaluate_detections(data, found, proposals=proposals, failures={"image2.jpg": "is truncated"})
    page = write(tmp_path / "out", data, found, evaluation)
    # cat: wrong, then right: precision 1/2 at recall 1/2 -> VOC07 3/11, VOC12 1/4; dog 0 -> means 3/22 and 1/8.
    for text in ("Blood cells", "run/model", "0.136", "0.125", "0.875", "recall@10", "0.947", "n/a (no small objects)"):
        assert text in page.text, text
    assert f"{evaluation.coco['AP']:.3f}" in page.text
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    measured = metrics["intervals"]["measures"]["AP"]
    assert measured["value"] == pytest.approx(evaluation.coco["AP"], abs=1e-9)
    assert f"{measured['low']:.3f}..{measured['high']:.3f}" in page.text
    assert "degenerate-box" in page.text
    assert "object 3 has no width; mend it; it was left out" in page.text
    assert "is truncated" in page.text
    assert "1 missed, 1 false" in page.text
    assert "classification: it is dog" in page.text
    assert "No picture:" in page.text
    # Of the readable image: the whole, its false cat and its missed dog. Of the other only what is missed there.
    assert page.tags.count("img") == 3
    assert page.tags.count("polyline") == 5  # precision and F1 of two classes, and what scores are worth
    assert "Only a model in one pass can tell" in page.text
    assert ("id", "image-0") in page.attributes
    told = {value for name, value in page.attributes if name == "title"}
    assert told == {"dog, taken for cat", "cat, missed"}


def test_stage_blame_is_shown(tmp_path: Path) -> None:
    data = make_split([make_record(1, [(A, 0)]), make_record(2, [(A, 1)])])
    examined = {1: Examined(np.array([-1.0]), np.array([5]), np.array([1]))}
    page = write(tmp_path, data, {}, examined=examined)
    assert "The 2 objects that are missed" in page.text
    assert "the classifier said background 1 50% 1 cat" in page.text
    assert "the image could not be read 1 50% 1 dog" in page.text
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert sum(metrics["stage_blame"]["all"].values()) == 2


def test_metrics_json_is_what_the_evaluation_says(tmp_path: Path) -> None:
    data = make_split([make_record(1, [(A, 0)])])
    found = perfect_detections(data)
    evaluation = evaluate_detections(data, found)
    page = write(tmp_path, data, found, evaluation)
    expected = evaluation.to_metrics() | explain(data, found, evaluation).to_metrics()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(expected))
    assert metrics["errors"]["kinds"]["missed"] == {"cost_AP50": 0.0, "count": 0, "count_at_thresholds": 0}
    assert metrics["confusion"] == [{"truth": "cat", "predicted": "cat", "count": 1}]
    assert metrics["stage_blame"] is None
    assert "No object is missed" in page.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "report.html"]


def test_nothing_is_fetched_and_no_text_becomes_markup(tmp_path: Path, image_path: Path) -> None:
    quoting = '" onload="alert(2)'
    records = [make_record(1, [(A, 0), (B, 1)], path=image_path)]
    data = make_split(records, class_names=[HOSTILE, quoting], findings=[Finding(HOSTILE, HOSTILE, HOSTILE, HOSTILE)])
    found = {1: make_detections([(A, 0.9, 1), (B, 0.8, 1)])}
    evaluation = evaluate_detections(data, found, failures={HOSTILE: HOSTILE})
    explanation = explain(data, found, evaluation)
    write_report(tmp_path, data, evaluation, explanation, title=HOSTILE, context={HOSTILE: HOSTILE})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert_self_contained(text, num_scripts=2)
    assert [entry["name"] for entry in Page(text).embedded["classes"]] == [HOSTILE, quoting]


def test_only_the_script_of_the_page_may_run(tmp_path: Path) -> None:
    data = make_split([make_record(1, [(A, 0)])])
    page = write(tmp_path, data, {})
    (policy,) = [value for name, value in page.attributes if name == "content" and "script-src" in value]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_embedded_json_cannot_end_its_element() -> None:
    name = "</script><!--&\u2028\u2029é"
    text = script_json({"name": name})
    assert set("<>&\u2028\u2029é").isdisjoint(text)
    assert json.loads(text) == {"name": name}


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_the_slider_starts_at_the_numbers_of_metrics_json(seed: int, tmp_path: Path) -> None:
    data, found = random_split(seed)
    page = write(tmp_path, data, dict(found))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for entry in page.embedded["classes"]:
        numbers = metrics["per_class"][entry["name"]]
        runs = zip(entry["ends"], entry["kept"], entry["right"], strict=True)
        kept, right = np.sum([(n, t) for end, n, t in runs if end >= entry["best"]] or [(0, 0)], axis=0)
        if numbers["score_threshold"] is None:
            assert right == 0
            continue
        assert entry["best"] == numbers["score_threshold"]
        assert right / kept == pytest.approx(numbers["precision"])
        assert right / entry["objects"] == pytest.approx(numbers["recall"])
        assert 2 * right / (kept + entry["objects"]) == pytest.approx(numbers["best_f1"])
        cells = f"{entry['best']:.3f} {numbers['precision']:.3f} {numbers['recall']:.3f} {numbers['best_f1']:.3f}"
        assert f"{cells} {right} {kept - right} {entry['objects'] - right}" in page.text


def test_boxes_start_as_the_thresholds_say(tmp_path: Path, image_path: Path) -> None:
    data = make_split([make_record(1, [(A, 0), (B, 0)], path=image_path)])
    weak = [((0, 0, 5, 5), 0.5, 0), ((0, 10, 5, 15), 0.4, 0), ((0, 20, 5, 25), 0.3, 0)]
    write(tmp_path, data, {1: make_detections([(A, 0.9, 0), *weak, (B, 0.25, 0)])})
    boxes = re.findall(r'<rect class="(\w+) *(\w*)[^"]*" x="[\d.]+"[^>]*data-score="([-\d.]+)"', page_text(tmp_path))
    whole = boxes[-7:]  # the picture of the whole image comes last
    assert [(kind, state) for kind, state, _ in whole] == [
        ("truth", ""),
        ("truth", "missed"),
        ("right", "off"),
        ("wrong", "off"),
        ("wrong", "off"),
        ("wrong", "off"),
        ("right", ""),
    ]
    assert float(whole[-1][2]) == float(np.float32(0.9))


def page_text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_missing_numbers_are_told_in_words(tmp_path: Path) -> None:
    page = write(tmp_path, make_split([make_record(1)]), {})
    assert "n/a (no medium objects)" in page.text
    assert "No class has objects, so there is no curve." in page.text
    assert "-1" not in page.text
    assert "None" not in page.text


def test_a_split_without_images_still_gives_a_report(tmp_path: Path) -> None:
    page = write(tmp_path, make_split([], class_names=[]), {})
    assert "0 images, 0 objects, 0 classes" in page.text
    assert "script" not in page.tags


def test_many_detections_do_not_make_a_large_page(tmp_path: Path, image_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = [make_record(number, [(A, 0), (B, 1)], path=image_path) for number in range(1, 40)]
    data = make_split(records)
    found = {}
    for record in records:
        corners = rng.uniform(0, 150, (400, 2))
        boxes = np.hstack([corners, corners + rng.uniform(5, 50, (400, 2))])
        rows = zip(boxes.tolist(), rng.random(400).tolist(), rng.integers(0, 2, 400).tolist(), strict=True)
        found[record.image_id] = make_detections(list(rows))
    page = write(tmp_path, data, found)
    assert len(page.scripts[0]) < 10_000
    assert "280 more boxes lie here and are not drawn." in page.text  # 2 objects and 120 of 400 detections are
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_only_the_most_frequent_classes_have_curves() -> None:
    number = MAX_CURVES + 2
    # Class k has k + 1 objects, so classes 0 and 1 are the rarest.
    objects = [((8 * column, 0, 8 * column + 4, 4), label) for label in range(number) for column in range(label + 1)]
    data = make_split([make_record(1, objects)], class_names=[f"class{label}" for label in range(number)])
    plots = curve_plots(evaluate_detections(data, {}).per_class)
    assert [(plot.name, plot.label) for plot in plots] == [(f"class{label}", label) for label in range(2, number)]


def test_the_curve_is_drawn_with_precision_upwards() -> None:
    data = make_split([make_record(1, [(A, 0), (B, 0)])], class_names=["cat"])
    found = {1: make_detections([(A, 0.75, 0), ((0, 0, 5, 5), 0.5, 0), (B, 0.25, 0)])}
    (plot,) = curve_plots(evaluate_detections(data, found).per_class)
    assert plot.line == "0.0,0.0 50.0,0.0 50.0,50.0 100.0,33.3"
    assert plot.area == "0.0,0.0 50.0,0.0 50.0,33.3 100.0,33.3 100.0,100.0 0.0,100.0"
    assert plot.marker == (100.0, 33.3)
    # F1 2 * 2 / 5, 2 * 1 / 4 and 2 * 1 / 3 from the thresholds 0.25, 0.5 and 0.75 on.
    assert plot.f1_line == "0.0,20.0 25.0,20.0 50.0,50.0 75.0,33.3"
    assert plot.f1_marker == (25.0, 20.0)


def test_few_places_of_a_curve_hold_what_many_detections_draw() -> None:
    """Ten objects found at once by the best, then 20,000 wrong ones of low scores: all that happens is in ten rows."""
    boxes = [(20.0 * n, 0.0, 20.0 * n + 10, 10.0) for n in range(10)]
    data = make_split([make_record(1, [(box, 0) for box in boxes])], class_names=["cat"])
    right = [(box, 0.95 - 0.05 * n, 0) for n, box in enumerate(boxes)]
    wrong = [((0.0, 15.0, 4.0, 19.0), 0.02 - 1e-7 * n, 0) for n in range(20_000)]
    settings = EvaluationSettings(CocoSettings(max_detections=100_000))
    evaluation = evaluate_detections(data, {1: make_detections([*right, *wrong])}, settings=settings)
    (plot,) = curve_plots(evaluation.per_class)
    points = [tuple(map(float, point.split(","))) for point in plot.line.split()]
    assert [point for point in points if point[1] == 0.0] == [(10.0 * n, 0.0) for n in range(11)]
    assert points[-1] == (100.0, pytest.approx(100 - 100 * 10 / 20_010, abs=0.1))
    assert plot.marker in points
    assert len(points) < 30
    f1 = [tuple(map(float, point.split(","))) for point in plot.f1_line.split()]
    assert plot.f1_marker in f1
    assert len([point for point in f1 if point[0] > 40]) == 10


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
    assert plot.promise == "on average they promise 0.167 too little"
    assert reliability_plot(evaluate_detections(data, {}).per_class) is None
    assert reliability_plot({}) is None

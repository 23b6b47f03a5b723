"""The files about proposals: every number there, nothing fetched, nothing injected, pictures of what is missed."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from detection.evaluation.proposal_report import write_proposal_report
from detection.evaluation.proposal_summary import ImageCover, cover_image, summarize_covers
from detection.evaluation.proposal_view import MAX_MISSED, missed_pictures, recall_plots
from tests.evaluation.splits import make_record
from tests.evaluation.test_proposal_curves import HALF_A, NOWHERE, A, B, make_proposals
from tests.evaluation.test_report import HOSTILE, Page, assert_self_contained

NAMES = ("cat", "dog")


def write(out: Path, covers: Sequence[ImageCover], *, failures: dict[str, str] | None = None) -> Page:
    """Writes the files and opens the page."""
    evaluation = summarize_covers(covers, NAMES, failures=failures)
    context = {"source": "run/model", "time includes": "the backbone"}
    write_proposal_report(out, covers, evaluation, class_names=NAMES, title="Cells", context=context)
    return Page((out / "proposals.html").read_text(encoding="utf-8"))


def some_covers(image_path: Path) -> list[ImageCover]:
    """A is half covered, B by nothing at all; a second image has no objects."""
    first = make_record(1, [(A, 0), (B, 1)], path=image_path)
    priors = np.array([[0.0, 0, 10, 8]])
    return [
        cover_image(first, make_proposals([NOWHERE, HALF_A]), seconds=0.125, priors=priors),
        cover_image(make_record(2), make_proposals([A]), seconds=0.125, priors=priors),
    ]


def test_both_files_hold_the_numbers(tmp_path: Path, image_path: Path) -> None:
    page = write(tmp_path / "out", some_covers(image_path), failures={"bad.jpg": "is truncated"})
    # Recall at 0.5: A of A and B; AR: one of ten overlaps for one of two objects; MABO (1/2 + 0) / 2.
    for text in ("Cells", "run/model", "the backbone", "0.500", "0.050", "0.250", "125.0 ms", "1.5", "is truncated"):
        assert text in page.text, text
    assert "n/a" in page.text  # no large objects
    assert "None" not in page.text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["proposals.html", "proposals.json"]

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (tmp_path / "out" / "proposals.json").read_text()
    numbers = json.loads(text, parse_constant=refuse)
    assert numbers["context"]["source"] == "run/model"
    assert numbers["coverage"] == {"recall": 0.5, "boxes_per_image": 1.5}
    assert numbers["proposals"]["10"]["AR"] == 0.05
    assert numbers["proposals"]["10"]["ARl"] is None
    assert numbers["priors"]["recall"]["0.80"] == 0.5
    assert numbers["priors"]["recall"]["0.85"] == 0.0
    assert numbers["seconds_per_image"] == {"mean": 0.125, "median": 0.125}


def test_curves_run_from_few_to_many_and_from_loose_to_tight(image_path: Path) -> None:
    by_count, by_iou = recall_plots(summarize_covers(some_covers(image_path), NAMES))
    half, tight = by_count.curves
    assert (half.name, tight.name) == ("IoU 0.5", "IoU 0.7")
    # ln(50 / 10) / ln(2000 / 10) = 0.304, ln 10 / ln 200 = 0.435
    assert half.line.startswith("0.0,50.0 30.4,50.0 43.5,50.0 ")
    assert half.line.endswith(" 100.0,50.0")
    assert set(point.split(",")[1] for point in tight.line.split()) == {"100.0"}
    assert by_count.ticks[1] == (30.4, "50")
    assert [curve.name for curve in by_iou.curves] == ["50 proposals", "200 proposals", "1000 proposals", "all priors"]
    assert by_iou.curves[0].line.startswith("0.0,50.0 11.1,100.0 ")
    assert by_iou.curves[3].line.split()[6:8] == ["66.7,50.0", "77.8,100.0"]  # the prior has IoU 0.8 with A


def test_missed_objects_are_drawn_with_the_nearest_proposal(tmp_path: Path, image_path: Path) -> None:
    quarter = (0, 0, 5, 5)
    record = make_record(1, [(A, 0), (B, 1)], path=image_path)
    covers = [cover_image(record, make_proposals([quarter]), seconds=0.1)]
    pictures, number = missed_pictures(covers, NAMES)
    assert number == 2
    assert [(p.name, p.size, p.iou) for p in pictures] == [("cat", "10 x 10", 0.25), ("dog", "10 x 10", 0.0)]
    colours = []
    for picture in pictures:
        content = b64decode(picture.picture.removeprefix("data:image/jpeg;base64,"))
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert 100 < max(pixels.shape) <= 320
        colours.append(len(np.unique(pixels.reshape(-1, 3) // 64, axis=0)))
    assert colours[0] > colours[1] > 1  # two boxes are drawn in the first, one in the second
    page = write(tmp_path / "out", covers)
    assert page.tags.count("img") == 2
    assert "nearest IoU 0.250" in page.text
    assert "no proposal touches it" in page.text


def test_of_many_missed_objects_some_are_shown(tmp_path: Path, image_path: Path) -> None:
    records = [make_record(image_id, [(A, 0)] * 5, path=image_path) for image_id in range(1, 21)]
    covers = [cover_image(record, make_proposals([]), seconds=0.1) for record in records]
    pictures, number = missed_pictures(covers, NAMES)
    assert (len(pictures), number) == (MAX_MISSED, 100)
    names = [picture.file_name for picture in pictures]
    assert (names[0], names[-1]) == ("image1.jpg", "image20.jpg")
    assert len(set(names)) == 20
    page = write(tmp_path / "out", covers)
    assert "100 objects have no proposal" in page.text
    assert (tmp_path / "out" / "proposals.html").stat().st_size < 2_000_000


def test_nothing_missed_nothing_there_nothing_readable(tmp_path: Path) -> None:
    found = [cover_image(make_record(1, [(A, 0)]), make_proposals([A]), seconds=0.1)]
    assert "No object is missed at IoU 0.5." in write(tmp_path / "found", found).text
    gone = [cover_image(make_record(1, [(A, 0)]), make_proposals([B]), seconds=0.1)]
    page = write(tmp_path / "gone", gone)
    assert "No picture:" in page.text
    assert "img" not in page.tags
    for name, covers in (("none", []), ("bare", [cover_image(make_record(1), make_proposals([]), seconds=0.1)])):
        page = write(tmp_path / name, covers)
        assert "There is no object to cover" in page.text
        assert "polyline" not in page.tags
        assert json.loads((tmp_path / name / "proposals.json").read_text())["coverage"]["recall"] is None


def test_nothing_is_fetched_and_no_text_becomes_markup(tmp_path: Path, image_path: Path) -> None:
    covers = [cover_image(make_record(1, [(A, 0)], path=image_path), make_proposals([]), seconds=0.1)]
    names = (HOSTILE,)
    evaluation = summarize_covers(covers, names, failures={HOSTILE: HOSTILE})
    write_proposal_report(
        tmp_path, covers, evaluation, class_names=names, title=HOSTILE, context={HOSTILE: '" onload="alert(1)'}
    )
    text = (tmp_path / "proposals.html").read_text(encoding="utf-8")
    assert_self_contained(text)

"""The page of an audit: what stands on it, escaped and without any other file."""

from __future__ import annotations

import re
from pathlib import Path

from detection.data.audit import audit_dataset
from detection.data.records import Finding
from detection.evaluation.audit_page import (
    MAX_LISTED,
    SAMPLES_PER_SPLIT,
    draw_samples,
    group_for_page,
    write_audit_page,
)
from tests.builders import ToyImage, ToyObject, toy_images, write_voc


def written(tmp_path: Path, root: Path) -> str:
    write_audit_page(tmp_path / "out/check.html", audit_dataset(root))
    return (tmp_path / "out/check.html").read_text(encoding="utf-8")


def test_figures_findings_and_samples(tmp_path: Path) -> None:
    bad = ToyImage("bad", (40, 60), (ToyObject("cat", (9, 9, 9, 30)), ToyObject("cat", (1, 1, 30, 30))))
    root = write_voc(tmp_path / "data", {"train": [bad, *toy_images(3)], "test": toy_images(2, prefix="t", seed=2)})

    page = written(tmp_path, root)

    assert "<b>degenerate-box</b>: 1" in page
    assert "object 1 of bad.jpg has xmin 10, ymin 10, xmax 9, ymax 30" in page
    assert "correct or delete it; left out" in page
    for name in ("bird", "cat", "dog", "Box size", "Box shape", "60x40"):
        assert name in page
    assert page.count('<img src="data:image/jpeg;base64,') == 3 + 1  # images with objects
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_clean_and_empty(tmp_path: Path) -> None:
    page = written(tmp_path, write_voc(tmp_path / "data", {"train": [ToyImage("a", (40, 60))]}))

    assert "nothing was found wrong" in page
    assert page.count("<img") == 1  # Without objects, any image is a sample.


def test_names_are_escaped(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    images = [ToyImage("<i>a", (40, 60), (ToyObject(name, (0, 0, 10, 10)), ToyObject(name, (0, 0, 10, 10))))]
    page = written(tmp_path, write_voc(tmp_path / "<b>", {"<u>": images}))

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    for markup in ("<i>a", "<u>"):
        assert markup not in page.replace('<i style="', "")


def test_unreadable_sample_is_a_note(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": toy_images(1)})
    path = root / "JPEGImages/image0.jpg"
    path.write_bytes(path.read_bytes()[:-300])

    page = written(tmp_path, root)

    assert "No picture: " in page
    assert "truncated JPEG" in page


def test_samples_are_spread_and_groups_cut(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": toy_images(9)})
    samples = draw_samples(audit_dataset(root).parts[0])
    assert len(samples) == SAMPLES_PER_SPLIT
    assert (samples[0].file_name, samples[-1].file_name) == ("image0.jpg", "image8.jpg")

    findings = [Finding("tiny-box", f"{i}.xml", "is tiny", "delete it") for i in range(MAX_LISTED + 7)]
    (group,) = group_for_page([*findings])
    assert (group.count, len(group.shown), group.remedy) == (MAX_LISTED + 7, MAX_LISTED, "delete it")
    (group,) = group_for_page([*findings, Finding("tiny-box", "z.xml", "is tiny", "keep it")])
    assert group.remedy == ""

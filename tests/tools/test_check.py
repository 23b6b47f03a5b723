"""``multibox check``: what it shows, writes and refuses, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from detection.errors import InputError
from tests.builders import ToyImage, ToyObject, random_pixels, save_image, toy_images, write_voc
from tools.check import check

IMAGE = ToyImage("a", (40, 60), (ToyObject("cat", (0, 0, 10, 20)), ToyObject("dog", (5, 5, 45, 35), ignore=True)))
EMPTY = ToyImage("b", (40, 60))

app = typer.Typer()
app.command()(check)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "clean", {"train": [IMAGE, EMPTY], "test": toy_images(2)})


def test_command_on_a_clean_set(clean: Path) -> None:
    result = CliRunner().invoke(app, [str(clean), "--split", "train"])

    assert result.exit_code == 0
    assert "is VOC: has Annotations/*.xml and ImageSets/Main/" in result.output
    assert "no findings" in result.output
    assert "10x20" in result.output


def test_command_with_findings(clean: Path, tmp_path: Path) -> None:
    (clean / "JPEGImages/b.jpg").write_bytes(b"")
    report = tmp_path / "new folder/findings.json"

    result = CliRunner().invoke(app, [str(clean), "--split", "train", "--json", str(report)])

    assert result.exit_code == 1
    assert (
        "1 x unreadable-image\n    JPEGImages/b.jpg: 0 bytes; copy or export the file again; left out" in result.output
    )
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["findings"] == [
        {
            "kind": "unreadable-image",
            "file": "JPEGImages/b.jpg",
            "message": "0 bytes; copy or export the file again",
            "remedy": "left out",
        }
    ]
    assert content["root"] == str(clean)
    assert content["splits"][0]["objects_per_class"] == {"cat": 1, "dog": 1}


def test_findings_that_are_not_shown_are_in_the_json(tmp_path: Path) -> None:
    objects = tuple(ToyObject("cat", (i, 9, i, 9)) for i in range(5))
    root = write_voc(tmp_path / "data", {"train": [IMAGE._replace(objects=objects)]})
    report = tmp_path / "findings.json"

    shown = CliRunner().invoke(app, [str(root)]).output
    written = CliRunner().invoke(app, [str(root), "--json", str(report)]).output

    assert "5 x degenerate-box" in shown
    assert "... and 2 more; --out DIR or --json FILE writes all\n" in shown
    assert "... and 2 more\n" in written
    assert len(json.loads(report.read_text(encoding="utf-8"))["findings"]) == 5


def test_page_and_json_in_a_folder(clean: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(clean), "--out", str(tmp_path / "out")])

    assert result.exit_code == 1
    content = json.loads((tmp_path / "out/check.json").read_text(encoding="utf-8"))
    assert [finding["kind"] for finding in content["findings"]] == ["foreign-class", "untaught-class"]
    assert sum(content["splits"][0]["box_sides"].values()) == content["splits"][0]["num_objects"]
    page = (tmp_path / "out/check.html").read_text(encoding="utf-8")
    assert "foreign-class" in page
    assert "check.html shows figures, findings and samples" in result.output


def test_fix_ends_clean_though_the_source_is_not(tmp_path: Path) -> None:
    bad = IMAGE._replace(objects=(*IMAGE.objects, ToyObject("cat", (9, 9, 9, 9))))
    root = write_voc(tmp_path / "data", {"train": [bad, EMPTY]})

    result = CliRunner().invoke(app, [str(root), "--fix", str(tmp_path / "mended")])

    assert result.exit_code == 0, result.output
    assert "fix.json lists 1 changes" in result.output
    fixed = json.loads((tmp_path / "mended/fix.json").read_text(encoding="utf-8"))
    assert fixed["left"] == []
    assert [(change["kind"], change["done"]) for change in fixed["changes"]] == [("degenerate-box", "left out")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fix", "full"], "full: is not an empty folder; name a new one with --fix"),
        (["--fix", "clean/new"], "clean/new: lies in the data set itself"),
        (["--fix", "new", "--out", "new/page"], "new/page: lies in new, which is for the copy alone"),
        (["--fix", "new", "--out", "new"], "new: lies in new, .* with --out"),
        (["--fix", "new", "--json", "new/findings.json"], "new/findings.json: lies in new, .* with --json"),
        (["--format", "yolo"], "--format yolo is that of a copy; name its folder with --fix"),
    ],
)
def test_fix_refuses_folders_before_it_looks_at_the_data(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tools.check.audit_dataset", None)
    save_image(tmp_path / "full/a.png", random_pixels((4, 4)))

    result = CliRunner().invoke(app, [clean.name, *options])

    assert isinstance(result.exception, InputError)
    assert re.match(message, str(result.exception))
    assert not (tmp_path / "new").exists()


def test_fix_and_the_page_may_lie_side_by_side(tmp_path: Path) -> None:
    root, out = write_voc(tmp_path / "data", {"train": [IMAGE, EMPTY]}), tmp_path / "out"

    result = CliRunner().invoke(app, [str(root), "--out", str(out), "--fix", str(out / "mended")])

    assert result.exit_code == 0, result.output
    assert (out / "check.html").is_file()
    assert (out / "mended/fix.json").is_file()


def test_fix_writes_the_format_that_is_asked_for(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": [IMAGE]})
    result = CliRunner().invoke(app, [str(root), "--fix", str(tmp_path / "copy"), "--format", "yolo"])
    assert "mended copy, images and labels (yolo); fix.json lists 1 changes" in " ".join(result.output.split())
    assert "YOLO: has data.yaml with class names" in CliRunner().invoke(app, [str(tmp_path / "copy")]).output


def test_fix_tells_what_is_left_for_a_person(clean: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(clean), "--fix", str(tmp_path / "mended")])

    assert result.exit_code == 1
    assert "left for a person to decide:\n1 x untaught-class" in result.output


def test_json_that_cannot_be_written(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = CliRunner().invoke(app, [str(clean), "--json", str(tmp_path / "file/findings.json")])

    assert isinstance(result.exception, InputError)
    assert "findings.json: cannot be written (" in str(result.exception)


def test_command_on_what_cannot_be_read(tmp_path: Path) -> None:
    """The program ends with the message of an InputError and exit code 2; see tools/main.py."""
    result = CliRunner().invoke(app, [str(tmp_path / "nowhere")])

    assert isinstance(result.exception, InputError)


def test_names_that_look_like_markup(tmp_path: Path) -> None:
    objects = (ToyObject("[bold]cat[/nothing]", (0, 0, 10, 20)), ToyObject(":car:", (0, 0, 20, 20)))
    image = IMAGE._replace(name="[bold]a", objects=objects)
    root = write_voc(tmp_path / "[red]", {"[blue]": [image]})

    result = CliRunner().invoke(app, [str(root)])

    assert result.exit_code == 0
    assert f"{root} is VOC" in result.output
    for name in ("[bold]cat[/nothing]", ":car:", " [blue] ", "in [blue]"):
        assert name in result.output

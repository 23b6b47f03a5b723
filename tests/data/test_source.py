"""What may be named as a source of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.data.source import list_source
from detection.errors import InputError
from tests.builders import random_pixels, save_image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.png", "day/c.jpg", "day/late/d.JPG", ".hidden.jpg"):
        save_image(tmp_path / "photos" / name, random_pixels((8, 9)))
    (tmp_path / "photos/notes.md").touch()
    return tmp_path / "photos"


def names(source: Path) -> list[str]:
    found = list_source(source)
    assert all(path.is_file() for _, path in found)
    return [name for name, _ in found]


def test_file_and_folder(photos: Path) -> None:
    assert names(photos / "a.jpg") == ["a.jpg"]
    assert names(photos) == ["a.jpg", "b.png", "day/c.jpg", "day/late/d.JPG"]


def test_pictures_that_cannot_be_read_are_not_passed_over(photos: Path) -> None:
    for name in ("day/e.HEIC", "f.avif"):
        (photos / name).write_bytes(b"\0\0\0 ftyp")
    assert names(photos) == ["a.jpg", "b.png", "day/c.jpg", "day/e.HEIC", "day/late/d.JPG", "f.avif"]
    assert names(photos / "**/*.HEIC") == ["day/e.HEIC"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("*", ["a.jpg", "b.png"]),
        ("**/*", ["a.jpg", "b.png", "day/c.jpg", "day/late/d.JPG"]),
        ("[ab].*", ["a.jpg", "b.png"]),
        ("d?y/*.jpg", ["day/c.jpg"]),
        ("day/**/*.JPG", ["late/d.JPG"]),
    ],
)
def test_pattern(photos: Path, pattern: str, expected: list[str]) -> None:
    assert names(photos / pattern) == expected


def test_pattern_relative_to_the_working_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)

    assert list_source(Path("*.png")) == [("b.png", Path("b.png"))]


def test_pattern_that_is_a_name(photos: Path) -> None:
    save_image(photos / "x[1].jpg", random_pixels((8, 9)))
    save_image(photos / "x1.jpg", random_pixels((8, 9)))

    assert names(photos / "x[1].jpg") == ["x[1].jpg"]


def test_list_keeps_its_order_and_leads_anywhere(photos: Path, tmp_path: Path) -> None:
    elsewhere = save_image(tmp_path / "other/e.png", random_pixels((8, 9)))
    lines = ["day/c.jpg", "", "  a.jpg  ", "./a.jpg", str(elsewhere), "missing.jpg"]
    lines += ["day/../a.jpg", "../other/e.png", str(photos / "day/c.jpg")]  # The same files, spelt otherwise.
    (photos / "list.txt").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")

    assert list_source(photos / "list.txt") == [
        ("day/c.jpg", photos / "day/c.jpg"),
        ("a.jpg", photos / "a.jpg"),
        (elsewhere.as_posix(), elsewhere),
        ("missing.jpg", photos / "missing.jpg"),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no such file or folder; give an image, a folder, a pattern or a list of images"),
        ("*.gif", r"no image fits this pattern; \*\* stands for any folders"),
        ("no/*.jpg", "no image fits this pattern"),
        ("**.jpg", r"\*\* stands for any folders, alone between slashes; write .*photos/\*\*/\*\.jpg$"),
        ("d**y/*.jpg", r"write .*photos/\*\*/d\*y/\*\.jpg$"),
        ("empty.txt", "names no image; write one path a line"),
        ("binary.txt", "is no text; a list of images has one path a line"),
        ("empty", "no images in this folder; known are .bmp"),
    ],
)
def test_what_is_no_source(photos: Path, name: str, message: str) -> None:
    (photos / "empty").mkdir()
    (photos / "empty.txt").write_text("\n \n", encoding="utf-8")
    (photos / "binary.txt").write_bytes(b"\x89PNG\r\n\0\0")

    with pytest.raises(InputError, match=message):
        list_source(photos / name)

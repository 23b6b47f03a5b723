"""File names from label files, and names in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.data.raw import absolute_path, choose_split, first_names, first_repeats, is_inside, relative_name


@pytest.mark.parametrize(
    "name", ["a.jpg", "sub/a.jpg", "sub\\a.jpg", "a..b.jpg", ".a", "Gr\u00f6\u00dfe [1].jpg", "./a.jpg"]
)
def test_names_inside(name: str) -> None:
    assert is_inside(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../a.jpg",
        "sub/../../a.jpg",
        "sub\\..\\a.jpg",
        "/a.jpg",
        "\\a.jpg",
        "C:/a.jpg",
        "C:a.jpg",
        "//host/a",
        "a\0.jpg",
    ],
)
def test_names_that_lead_out(name: str) -> None:
    assert not is_inside(name)


def test_names_are_relative_where_they_can_be() -> None:
    assert relative_name(Path("root/sub/a.jpg"), Path("root")) == "sub/a.jpg"
    assert relative_name(Path("other/a.jpg"), Path("root")) == "other/a.jpg"


def test_first_names() -> None:
    assert first_names([]) == ""
    assert first_names(["a", "b", "c"]) == "a, b, c"
    assert first_names(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_first_repeats() -> None:
    assert first_repeats(["b", "a", "b", "c", "a", "b"]) == "b, a"
    assert first_repeats(["a", "b"]) == ""


def test_choice_of_splits() -> None:
    assert choose_split(["train", "val"]) == "choose one of: train, val; name one with --split"
    assert choose_split([]) == "choose one of: none; name one with --split"


def test_absolute_path_folds_what_leads_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert absolute_path(Path("a/../b/./c")) == tmp_path / "b/c"
    assert absolute_path(tmp_path / "d") == tmp_path / "d"

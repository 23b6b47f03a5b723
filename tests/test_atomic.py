"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.atomic import atomic_path, remove_drafts


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as draft:
        draft.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_name_may_be_as_long_as_the_file_system_bears(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    with atomic_path(target) as draft:
        draft.write_text("whole")
    assert target.read_text() == "whole"


def fail_half_way(path: Path) -> None:
    """Writes the beginning of a file."""
    with atomic_path(path) as draft:
        draft.write_text("ha")
        raise RuntimeError("power cut")


def test_an_error_keeps_the_old_file_and_removes_the_draft(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="power cut"):
        fail_half_way(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_drafts_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / "sub" / "file.txt"
    with atomic_path(left) as draft:
        draft.write_text("whole")
        name = draft.name
    (left.parent / name).write_text("half")
    others = [tmp_path / ".hidden.tmp", tmp_path / "notes.1.2.tmp"]
    for other in others:
        other.write_text("mine")
    remove_drafts(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([left, *others])


def test_there_may_be_no_folder_yet(tmp_path: Path) -> None:
    remove_drafts(tmp_path / "absent")

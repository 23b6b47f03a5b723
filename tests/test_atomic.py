"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.atomic import atomic_path


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as draft:
        draft.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


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

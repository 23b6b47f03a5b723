"""Forty kinds of broken input: each is answered with the file at fault and what to do about it.

A row breaks one thing of a small data set and names the command to run, the file that its message must name and a
piece of the remedy. Where the fault is one file of many, the command goes on with the others.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.broken import annotations, files  # noqa: F401  they fill the table
from tests.broken.case import (
    CASES,
    FOUND,
)
from tests.tools.running import run_main


@pytest.mark.parametrize("name", CASES)
def test_broken_input_is_answered_with_file_and_remedy(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name](tmp_path)
    assert case.remedy not in case.file  # or the name alone would do
    before = {path for path in tmp_path.rglob("*")}
    out = tmp_path / "out"
    code = run_main(*(out if argument == "OUT" else argument for argument in case.arguments))
    told = "".join(capsys.readouterr())
    if (out / "errors.json").is_file():
        told += (out / "errors.json").read_text()
    assert code == case.code, told
    assert case.file in told
    assert case.remedy in told
    assert "Traceback" not in told
    assert {path for path in tmp_path.rglob("*") if out not in [path, *path.parents]} == before  # nothing else written


def test_there_are_forty_kinds() -> None:
    assert len(CASES) >= 40


def test_good_photos_are_done_beside_a_bad_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES["text renamed to jpeg"](tmp_path)
    assert run_main(*(tmp_path / "out" if a == "OUT" else a for a in case.arguments)) == FOUND
    listed = json.loads((tmp_path / "out/images.json").read_text())
    assert len(listed["images"]) == 2
    assert np.isin(["good0.jpg", "good1.jpg"], [image["file_name"] for image in listed["images"]]).all()

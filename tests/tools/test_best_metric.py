"""``train.best_metric``: any number of a validation may choose the best weights, if it exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from detection.checkpoint import load_header
from tests.tools.running import run_main as run
from tests.tools.tiny_run import TINY


def test_a_number_of_one_class_chooses_the_best(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", tmp_path, "--val", "test", "--epochs", 2, *TINY]
    assert run("train", toy, *options, "--set", "train.best_metric=F1:dog") == 0
    assert re.search(
        r"validation after step 4: AP \d\S+  AP50 \d\S+  AP75 \d\S+  F1:dog \d\S+  loss \d", capsys.readouterr().out
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    training, validation = lines[0], lines[-1]
    losses = ("proposal_objectness", "proposal_box", "region_class", "region_box")
    assert all(training[name] > 0 and validation[name] > 0 for name in losses)
    assert load_header(tmp_path).training["validation"]["F1:dog"] == validation["F1:dog"]
    assert run("info", tmp_path) == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("validation: ")]
    assert "'F1': " in told
    assert "F1:dog" not in told


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("AP:dgo", "a class that the data do not have; did you mean AP:dog?"),
        ("F1:zebra", "a class that the data do not have; the classes are bird, cat, dog"),
        ("APl", "'test' has no object that APl is about"),
        ("mAP", "expected one of AP, AP50, "),
        ("AP75:dog", "AP:NAME or AP50:NAME or F1:NAME of the class NAME"),
    ],
)
def test_a_number_that_does_not_exist_cannot_choose_the_best(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str, told: str
) -> None:
    options = ["--out", tmp_path / "run", "--val", "test", "--epochs", 1, *TINY]
    assert run("train", toy, *options, "--set", f"train.best_metric={metric}") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

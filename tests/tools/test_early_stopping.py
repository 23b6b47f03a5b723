"""``train.patience``: the run ends, says why, and counts on after a stop."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from detection import validation as validation_module
from detection.checkpoint import load_model
from detection.inference import SplitAnswers
from detection.training_log import TrainingLog
from tests.builders import toy_images, write_voc
from tests.tools.running import run_main as run
from tests.tools.tiny_run import TINY
from tools.run_folder import LAST_MODEL_NAME, earlier_validations

OPTIONS = [*TINY, "--set=train.evaluate_every=1", "--set=backbone.weights=none"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "toy"
    return write_voc(root, {"train": toy_images(2), "val": toy_images(1, prefix="val")})


Script = Callable[[Sequence[float]], None]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Lets the validations find these numbers, one after the other; a negative one also asks the run to stop."""

    def follow(values: Sequence[float]) -> None:
        numbers = iter(values)

        def answer(data: object, found: object) -> dict[str, float | None]:
            value = next(numbers)
            if value < 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"AP": abs(value), "AP50": 0.0, "AP75": None}

        monkeypatch.setattr(validation_module, "detect_records", lambda detector, images: SplitAnswers())
        monkeypatch.setattr(validation_module, "validation_numbers", answer)

    return follow


def train(toy: Path, out: Path, *options: str) -> int:
    # Two images in batches of two: each epoch is a step.
    return run("train", toy, "--out", out, "--val", "val", "--epochs", 6, *OPTIONS, *options)


def validations(out: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["AP"]) for line in lines if line["kind"] == "validation"]


def test_a_run_without_a_new_best_ends_and_says_why(
    toy: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script([0.2, 0.3, 0.3, 0.1])
    assert train(toy, tmp_path, "--set=train.patience=2") == 0
    assert validations(tmp_path) == [(1, 0.2), (2, 0.3), (3, 0.3), (4, 0.1)]
    told = capsys.readouterr().out
    assert "ends early: no validation of the last 2 was better than the best, AP 0.300 (train.patience 2)" in told
    assert "after 3 steps, 3.0 passes over the images, the best validated of 4 steps" in told


def test_the_weights_of_the_best_validation_are_kept_beside_the_last(toy: Path, tmp_path: Path, script: Script) -> None:
    script([0.2, 0.4, 0.3, 0.1])
    assert train(toy, tmp_path, "--set=train.patience=2") == 0
    best, last = load_model(tmp_path / "model.safetensors"), load_model(tmp_path / LAST_MODEL_NAME)
    assert (best[1].training["steps"], last[1].training["steps"]) == (2, 4)
    assert any(not torch.equal(best[0][name], last[0][name]) for name in best[0])


@pytest.mark.slow
def test_an_ended_run_stays_so_unless_it_gets_more_patience(
    toy: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script([0.2, 0.3, 0.3, 0.1])
    assert train(toy, tmp_path, "--set=train.patience=2") == 0
    script([])
    assert train(toy, tmp_path, "--resume", "--set=train.patience=2") == 0
    assert capsys.readouterr().out.count("ends early") == 2
    assert len(validations(tmp_path)) == 4

    script([0.1, 0.1])
    assert train(toy, tmp_path, "--resume", "--set=train.patience=9") == 0
    assert "ends early" not in capsys.readouterr().out
    assert [step for step, _ in validations(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_the_count_goes_on_after_a_stop(toy: Path, tmp_path: Path, script: Script) -> None:
    script([0.5, -0.4])
    assert train(toy, tmp_path, "--set=train.patience=2") == 75
    script([0.3])  # the second without a new best; a third would find no number
    assert train(toy, tmp_path, "--resume", "--set=train.patience=2") == 0
    assert validations(tmp_path) == [(1, 0.5), (2, 0.4), (3, 0.3)]


def test_the_log_tells_of_earlier_validations(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.write("train", 1, {"region_class": 0.7})
    log.write("validation", 1, {"AP": 0.1 + 0.2, "AP50": None})
    log.write("validation", 2, {"AP": None, "AP50": 0.5})
    log.close()
    TrainingLog(tmp_path, done=1).close()  # the second step was not saved, and is taken anew
    assert earlier_validations(tmp_path, "AP") == [0.1 + 0.2]  # to the last bit
    assert earlier_validations(tmp_path, "AP50") == [None]
    (tmp_path / "new").mkdir()
    TrainingLog(tmp_path / "new").close()
    assert earlier_validations(tmp_path / "new", "AP") == []


def test_without_a_validation_part_patience_is_told_to_be_idle(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", toy, "--out", tmp_path, "--epochs", 1, *OPTIONS, "--set=train.patience=1") == 0
    assert "train.patience has no effect here: it is for runs with --val" in capsys.readouterr().out

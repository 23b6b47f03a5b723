"""A few kills of real processes; ``python -m tests.kills`` makes many more."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.kills import kill_detections, kill_trainings


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    random = Random(1)
    trainings = kill_trainings(tmp_path, 3, random)
    assert trainings == (3, [])
    detections = kill_detections(tmp_path, tmp_path / "trainings/undisturbed/model.safetensors", 3, random)
    assert detections == (3, [])

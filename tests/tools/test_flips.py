"""``augment.vertical_flip`` left open: settled before the first step, told, and kept with the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState
from rich.console import Console

from configs.load import load_config
from configs.schema import Config
from detection.checkpoint import load_header
from detection.data.records import DetectionData
from detection.errors import InputError
from detection.flip_trial import FlipTrial
from tests.detection.test_flip_trial import disk, downwards, draw_records, square, upwards
from tests.evaluation.splits import make_split
from tests.tools.running import run_main as run
from tests.tools.tiny_run import TINY
from tools.flips import describe_trial, settle_flip
from tools.run_folder import write_config


def make_config(**values: object) -> Config:
    return load_config(
        "default", [f"{name.replace('__', '.')}={value}" for name, value in values.items()], schema=Config
    )


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DetectionData]:
    kinds = {"bear": [disk, square], "turn": [upwards, downwards]}
    folder = tmp_path_factory.mktemp("shapes")
    return {name: make_split(draw_records(folder / name, kind)) for name, kind in kinds.items()}


def settle(config: Config, data: DetectionData, out: Path) -> tuple[float | None, str]:
    AcceleratorState._reset_state(reset_partial_state=True)  # of earlier runs in this process
    GradientState._reset_state()
    console = Console(width=300)
    with console.capture() as shown:
        settled = settle_flip(config, data, out, console, resume=True)
    return settled.augment.vertical_flip, shown.get()


def test_left_open_it_follows_the_objects(shapes: dict[str, DetectionData], tmp_path: Path) -> None:
    probability, told = settle(make_config(), shapes["bear"], tmp_path)
    assert probability == 0.5
    assert "48 objects are told" in told
    assert "half of the views are flipped (--set augment.vertical_flip=0 for none)" in told
    probability, told = settle(make_config(), shapes["turn"], tmp_path)
    assert probability == 0
    assert "no view is flipped" in told


def test_a_number_stays(shapes: dict[str, DetectionData], tmp_path: Path) -> None:
    assert settle(make_config(augment__vertical_flip=0.2), shapes["bear"], tmp_path) == (0.2, "")
    assert settle(make_config(augment__vertical_flip=0), shapes["bear"], tmp_path) == (0, "")


def test_random_weights_tell_nothing(shapes: dict[str, DetectionData], tmp_path: Path) -> None:
    assert settle(make_config(backbone__weights="none"), shapes["bear"], tmp_path) == (0, "")


def test_who_wants_no_mirror_images_gets_none_upside_down(shapes: dict[str, DetectionData], tmp_path: Path) -> None:
    assert settle(make_config(augment__horizontal_flip=0), shapes["bear"], tmp_path) == (0, "")


def test_few_objects_are_told_of(shapes: dict[str, DetectionData], tmp_path: Path) -> None:
    probability, told = settle(make_config(), replace(shapes["bear"], images=shapes["bear"].images[:5]), tmp_path)
    assert probability == 0
    assert "too few objects or images to try them upside down" in told


def test_a_verdict_that_says_nothing_is_told_as_such() -> None:
    assert "do not tell 40 objects apart" in describe_trial(FlipTrial(40, None, -1.0))
    assert "99% as surely as upright, but too few or not all of them to be sure" in describe_trial(
        FlipTrial(40, 0.99, 0.2)
    )


def test_a_run_keeps_its_number(shapes: dict[str, DetectionData], tmp_path: Path) -> None:
    write_config(tmp_path, make_config(augment__vertical_flip=0.3))
    assert settle(make_config(), shapes["bear"], tmp_path) == (0.3, "")
    with pytest.raises(InputError, match="holds a run already; add --resume"):
        settle_flip(make_config(), shapes["bear"], tmp_path, Console(quiet=True), resume=False)


def test_a_training_writes_it_down_and_goes_on_with_it(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = "--set=augment.vertical_flip=0.4"
    assert run("train", toy, "--out", out, "--epochs", 1, *TINY, asked) == 0
    assert load_config(str(out / "config.yaml"), schema=Config).augment.vertical_flip == 0.4
    assert load_header(out).config["augment"]["vertical_flip"] == 0.4
    assert run("train", toy, "--out", out, "--epochs", 1, "--resume", *TINY) == 0
    assert load_config(str(out / "config.yaml"), schema=Config).augment.vertical_flip == 0.4
    assert run("train", toy, "--out", out, "--epochs", 1, "--resume", *TINY, "--set=augment.vertical_flip=0.1") == 2

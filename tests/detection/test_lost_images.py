"""Training whose images go away in the midst of it: a drive that is unplugged, a network that fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from detection.checkpoint import load_state
from detection.data.discover import load_dataset
from detection.engine import MOST_LOST
from detection.errors import InputError
from detection.training_task import StepReport
from tests.builders import toy_images, write_voc
from tests.detection.tiny import tiny_config, tiny_trainer

GONE_AFTER = 3


@pytest.mark.parametrize(("mosaic", "kept"), [(0.0, 0), (1.0, 0), (0.0, 2)])
def test_training_stops_and_keeps_the_state_of_before(tmp_path: Path, mosaic: float, kept: int) -> None:
    """Also where some of the images are kept in memory."""
    data = load_dataset(write_voc(tmp_path / "toy", {"train": toy_images(6)}), "train")
    config = tiny_config(cache_mb=0)
    views = config.augment.model_copy(update={"mosaic": mosaic, "mosaic_until": 1.0, "many_epochs": 0})
    config = config.model_copy(update={"augment": views})
    trainer = tiny_trainer(data.images, config, steps=60, state_path=tmp_path / "state.safetensors")
    trainer.settings = replace(trainer.settings, checkpoint_seconds=0)
    steps = []

    def listen(report: StepReport) -> None:
        steps.append(report.step)
        if report.step == GONE_AFTER:
            for record in data.images[kept:]:
                record.path.unlink()

    with pytest.raises(InputError, match=r"of the last \d+ images could not be read.*go on with --resume"):
        trainer.fit(listen, None)

    assert len(steps) - GONE_AFTER in range(MOST_LOST - 4, MOST_LOST + 4)  # some batches were read ahead
    _, about = load_state(tmp_path / "state.safetensors")
    assert GONE_AFTER <= about["step"] <= GONE_AFTER + 8


def test_a_stop_while_images_are_lost_keeps_the_state_of_before(tmp_path: Path) -> None:
    data = load_dataset(write_voc(tmp_path / "toy", {"train": toy_images(6)}), "train")
    trainer = tiny_trainer(data.images, tiny_config(cache_mb=0), steps=60, state_path=tmp_path / "state.safetensors")

    def listen(report: StepReport) -> None:
        if report.step == GONE_AFTER:
            trainer.save()
            for record in data.images:
                record.path.unlink()
        if report.step == GONE_AFTER + 8:
            trainer.request_stop()

    assert not trainer.fit(listen, None)
    assert load_state(tmp_path / "state.safetensors")[1]["step"] == GONE_AFTER


def test_some_images_that_cannot_be_read_end_nothing(tmp_path: Path) -> None:
    data = load_dataset(write_voc(tmp_path / "toy", {"train": toy_images(5)}), "train")
    for record in data.images[1:4]:
        record.path.write_bytes(b"no image")
    trainer = tiny_trainer(data.images, tiny_config(), steps=12, state_path=tmp_path / "state.safetensors")
    assert trainer.fit(lambda report: None, None)
    assert len(trainer.unreadable) == 3

"""Training whose images go away in the midst of it: a drive that is unplugged, a network that fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from detection.checkpoint import load_state
from detection.data.discover import load_dataset
from detection.engine import MOST_BLANKS
from detection.errors import InputError
from detection.training_task import StepReport
from tests.builders import toy_images, write_voc
from tests.detection.tiny import tiny_config, tiny_trainer

GONE_AFTER = 3


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_training_stops_and_keeps_the_state_of_before(tmp_path: Path, mosaic: float) -> None:
    data = load_dataset(write_voc(tmp_path / "toy", {"train": toy_images(5)}), "train")
    config = tiny_config(cache_mb=0)
    views = config.augment.model_copy(update={"mosaic": mosaic, "mosaic_until": 1.0, "many_epochs": 0})
    config = config.model_copy(update={"augment": views})
    trainer = tiny_trainer(data.images, config, steps=40, state_path=tmp_path / "state.safetensors")
    trainer.settings = replace(trainer.settings, checkpoint_seconds=0)
    steps = []

    def listen(report: StepReport) -> None:
        steps.append(report.step)
        if report.step == GONE_AFTER:
            for record in data.images:
                record.path.unlink()

    with pytest.raises(InputError, match=f"the {MOST_BLANKS} last batches had no image .* go on with --resume"):
        trainer.fit(listen, None)

    assert len(steps) - GONE_AFTER in range(MOST_BLANKS - 1, MOST_BLANKS + 3)  # some batches were read ahead
    _, about = load_state(tmp_path / "state.safetensors")
    assert GONE_AFTER <= about["step"] < len(steps) - MOST_BLANKS + 2


def test_some_images_that_cannot_be_read_end_nothing(tmp_path: Path) -> None:
    data = load_dataset(write_voc(tmp_path / "toy", {"train": toy_images(5)}), "train")
    for record in data.images[1:4]:
        record.path.write_bytes(b"no image")
    trainer = tiny_trainer(data.images, tiny_config(), steps=12, state_path=tmp_path / "state.safetensors")
    assert trainer.fit(lambda report: None, None)
    assert len(trainer.unreadable) == 3

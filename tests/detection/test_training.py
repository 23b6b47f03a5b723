"""The training loop: the same twice, the same after a stop, and no step on a loss that is not a number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.engine import NonFiniteLossError, StepReport, Trainer
from detection.errors import InputError
from tests.builders import toy_images, write_voc
from tests.detection.tiny import run_losses, tiny_config, tiny_trainer

STEPS = 6


@pytest.fixture
def data(tmp_path: Path) -> DetectionData:
    return load_dataset(write_voc(tmp_path / "toy", {"train": toy_images(5)}), "train")


def weights(trainer: Trainer) -> list[torch.Tensor]:
    both = {**trainer.network.state_dict(), **{f"a.{k}": v for k, v in trainer.average.network.state_dict().items()}}
    return list(both.values())


def assert_bit_equal(one: Trainer, other: Trainer) -> None:
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.fixture
def trained(data: DetectionData, tmp_path: Path) -> tuple[Trainer, list[float]]:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "a.safetensors")
    return trainer, run_losses(trainer)


def test_same_seed_same_weights_bit_for_bit(
    data: DetectionData, trained: tuple[Trainer, list[float]], tmp_path: Path
) -> None:
    again = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "b.safetensors")
    assert run_losses(again) == trained[1]
    assert_bit_equal(again, trained[0])


def test_another_seed_gives_other_weights(
    data: DetectionData, trained: tuple[Trainer, list[float]], tmp_path: Path
) -> None:
    other = tiny_trainer(data.images, tiny_config(seed=1), steps=STEPS, state_path=tmp_path / "b.safetensors")
    assert run_losses(other) != trained[1]


def test_workers_do_not_change_the_result(
    data: DetectionData, trained: tuple[Trainer, list[float]], tmp_path: Path
) -> None:
    other = tiny_trainer(data.images, tiny_config(workers=2), steps=STEPS, state_path=tmp_path / "b.safetensors")
    assert run_losses(other) == trained[1]
    assert_bit_equal(other, trained[0])


class StopError(Exception):
    """A kill, from the point of view of the loop."""


def stop_after(step: int) -> Callable[[StepReport], None]:
    def listen(report: StepReport) -> None:
        if report.step == step:
            raise StopError

    return listen


@pytest.mark.parametrize("stop_at", [1, 4])
def test_resume_in_the_middle_of_an_epoch_is_exact(
    data: DetectionData, trained: tuple[Trainer, list[float]], tmp_path: Path, stop_at: int
) -> None:
    state = tmp_path / "last" / "state.safetensors"
    first = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=state)
    with pytest.raises(StopError):
        first.fit(stop_after(stop_at), None)
    first.save()
    second = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=state)
    second.restore()
    assert run_losses(second) == trained[1][stop_at:]
    assert_bit_equal(second, trained[0])


def test_a_requested_stop_saves_and_goes_on_exactly(
    data: DetectionData, trained: tuple[Trainer, list[float]], tmp_path: Path
) -> None:
    state = tmp_path / "last" / "state.safetensors"
    first = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=state)

    def listen(report: StepReport) -> None:
        if report.step == 2:
            first.request_stop()

    assert first.fit(listen, None) is False
    assert first.step == 2
    second = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=state)
    second.restore()
    assert run_losses(second) == trained[1][2:]
    assert_bit_equal(second, trained[0])


def test_resume_needs_a_state_of_the_same_network(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=1, state_path=tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"none\.safetensors: no such file; start without --resume"):
        trainer.restore()
    trainer.state_path.write_bytes(b"not safetensors at all")
    with pytest.raises(InputError, match="damaged or not a safetensors file"):
        trainer.restore()


def test_a_loss_that_is_not_a_number_never_reaches_the_weights(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "a.safetensors")
    with torch.no_grad():
        trainer.network.classifier.heads.logit_bias[0, 0, 0] = float("inf")
    before = [tensor.clone() for tensor in trainer.network.backbone.parameters()]
    with pytest.raises(NonFiniteLossError, match=r"step 0: region_class is not finite on the images .*image"):
        run_losses(trainer)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.network.backbone.parameters(), strict=True))


def test_the_last_evaluation_always_happens(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=4, state_path=tmp_path / "a.safetensors")
    heard: list[int] = []

    def evaluate(network: torch.nn.Module, step: int) -> float:
        heard.append(step)
        return 1.0 - step / 10

    trainer.fit(lambda report: None, evaluate, evaluate_every=3)
    assert heard == [4]
    assert trainer.best_metric == pytest.approx(0.6)

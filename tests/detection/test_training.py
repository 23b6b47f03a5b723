"""The training loop: the same twice, the same after a stop, and no step on a loss that is not a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from detection import engine
from detection import validation as validation_module
from detection.checkpoint import load_state, load_tensors, save_state
from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.engine import BAD_BATCH_NAME, BATCH_FORMAT, Trainer
from detection.errors import InputError, NonFiniteLossError
from detection.inference import SplitAnswers
from detection.processes import Place
from detection.schedule import StepBudget
from detection.training_log import NoLog
from detection.training_task import StepReport
from detection.validation import Validation
from tests.builders import toy_images, write_voc
from tests.detection.tiny import run_losses, tiny_config, tiny_network, tiny_trainer
from tools.cli import plain_console
from tools.following import follow

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


def test_each_process_draws_its_own_dropout(
    data: DetectionData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=2, state_path=tmp_path / "state.safetensors")
    batch = next(iter(trainer.source.batches(0, lambda step: 0.0)))
    seeds: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    for rank in range(2):
        monkeypatch.setattr(engine, "place", partial(Place, rank, 2))
        trainer.step = 0
        trainer.train_step(batch, 0.0)
    assert len(set(seeds)) == len(seeds) == 2
    assert max(seeds) < 2**32  # all that a generator on the CPU keeps


def test_resume_needs_a_state_of_the_same_network(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=1, state_path=tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"none\.safetensors: no such file; it cannot go on; start anew"):
        trainer.restore()
    trainer.state.path.write_bytes(b"not safetensors at all")
    with pytest.raises(InputError, match="damaged or not a safetensors file"):
        trainer.restore()


def test_states_that_are_not_of_ours_are_answered_in_words(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=1, state_path=tmp_path / "state.safetensors")
    trainer.fit(lambda report: None, None)
    tensors, course = load_state(trainer.state.path)
    first = next(name for name in tensors if name.startswith("optimizer."))
    faults = [
        (tensors, {key: value for key, value in course.items() if key != "updates"}),
        (tensors, course | {"updates": None}),
        (tensors | {"foo.x": torch.zeros(1)}, course),
        (tensors | {"optimizer.x.step": torch.zeros(1)}, course),
        (tensors | {"optimizer.9999.step": torch.zeros(1)}, course),
        (tensors | {first.rpartition(".")[0] + ".exp_avg": torch.zeros(2, 3, 5, 7, 11)}, course),
    ]
    for held, header in faults:
        save_state(trainer.state.path, held, header)
        with pytest.raises(InputError, match="belongs to another network"):
            trainer.restore()


def test_a_loss_that_is_not_a_number_never_reaches_the_weights(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "a.safetensors")
    with torch.no_grad():
        trainer.network.classifier.heads.logit_bias[0, 0, 0] = float("inf")
    before = [tensor.clone() for tensor in trainer.network.backbone.parameters()]
    with pytest.raises(NonFiniteLossError, match=r"step 0: region_class is not finite on the images .*image"):
        run_losses(trainer)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.network.backbone.parameters(), strict=True))


def test_the_batch_of_a_loss_that_is_not_a_number_is_kept(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "last/state.safetensors")
    with torch.no_grad():
        trainer.network.classifier.heads.logit_bias[0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"the batch is kept in .*bad_batch\.safetensors") as caught:
        run_losses(trainer)
    tensors, header = load_tensors(tmp_path / "last" / BAD_BATCH_NAME, BATCH_FORMAT, "")
    assert tensors["images"].shape[0] == len(header["files"]) == 2
    assert all(name in str(caught.value) for name in header["files"])
    assert header["numbers"]["region_class"] == "nan"
    assert {"boxes.0", "labels.1", "ignore.1"} <= tensors.keys()


class BreakingLog(NoLog):
    """Raises at the first step, as anything in a step may."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault

    def write(self, kind: str, step: int, values: Mapping[str, object]) -> None:
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "helps"),
    [
        (torch.OutOfMemoryError("80 GiB"), r"lower train\.batch_size or input\.longest_side"),
        (RuntimeError("can't allocate memory: 80 GiB"), r"lower train\.batch_size or input\.longest_side"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), r"lower train\.workers"),
    ],
)
def test_memory_that_runs_short_later_is_told_with_what_helps(
    data: DetectionData, tmp_path: Path, fault: Exception, helps: str
) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=rf"step 1: memory is short .*{helps}.* --resume goes on"):
        follow(trainer, plain_console(), BreakingLog(fault), None, evaluate_every=1)


@pytest.mark.parametrize(
    "fault", [RuntimeError("a mistake of ours"), NonFiniteLossError("on shared memory/a.jpg the loss is no number")]
)
def test_other_faults_of_a_step_are_left_as_they_are(data: DetectionData, tmp_path: Path, fault: Exception) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "a.safetensors")
    with pytest.raises(type(fault), match=str(fault)):
        follow(trainer, plain_console(), BreakingLog(fault), None, evaluate_every=1)


@pytest.mark.parametrize(
    "workers", [0, pytest.param(1, marks=pytest.mark.slow)]
)  # which torch takes ten seconds to end
def test_an_image_that_finds_no_memory_is_no_fault_of_the_image(
    data: DetectionData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def fail(path: Path) -> None:
        raise InputError(f"{path}: no memory to decode it") from MemoryError()

    config = tiny_config(workers=workers)
    trainer = tiny_trainer(data.images, config, steps=STEPS, state_path=tmp_path / "a.safetensors")
    monkeypatch.setattr("detection.data.image_cache.read_image", fail)
    with pytest.raises(InputError, match=r"the largest batch does not fit the memory \(.*no memory to decode it\)"):
        trainer.rehearse()
    with pytest.raises(InputError, match=r"step 0: memory is short \([^\n]*no memory to decode it\); .*goes on$"):
        follow(trainer, plain_console(), NoLog(), None, evaluate_every=1)


def test_the_rehearsal_changes_nothing(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "a.safetensors")
    before = [tensor.clone() for tensor in trainer.objective.state_dict().values()]
    batch = trainer.rehearse()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.objective.state_dict().values(), strict=True))
    assert all(parameter.grad is None for parameter in trainer.objective.parameters())
    most = max(data.images, key=lambda record: len(record.boxes))
    assert most.file_name in [name.split(" + ")[0] for name in batch.file_names]  # the first of a mosaic, if it is one
    assert max(batch.tensors()["images"].shape[2:]) == 96


def test_a_batch_beyond_the_memory_is_told_before_training(
    data: DetectionData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "a.safetensors")

    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")

    monkeypatch.setattr(trainer, "objective", Mock(side_effect=too_large, buffers=trainer.objective.buffers))
    with pytest.raises(InputError, match=r"80 GiB\); lower train\.batch_size or input\.longest_side or classifier"):
        trainer.rehearse()


def test_a_gradient_that_is_not_a_number_never_reaches_the_weights(
    data: DetectionData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=STEPS, state_path=tmp_path / "a.safetensors")
    weight = trainer.network.pyramid.laterals[0].conv.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weight.detach().clone()
    with pytest.raises(NonFiniteLossError, match="step 0: the gradient is not finite"):
        run_losses(trainer)
    assert torch.equal(weight, before)


def test_resume_refuses_another_run(data: DetectionData, tmp_path: Path) -> None:
    state = tmp_path / "a.safetensors"
    run_losses(tiny_trainer(data.images, tiny_config(), steps=1, state_path=state))
    other = tiny_trainer(data.images, tiny_config(), steps=9, state_path=state)
    with pytest.raises(InputError, match="budget was 1 steps, is 9 steps; resume with the same command"):
        other.restore()


def test_biases_and_normalisation_do_not_decay(data: DetectionData, tmp_path: Path) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=1, state_path=tmp_path / "a.safetensors")
    decay = {id(p): group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    for name, parameter in trainer.network.named_parameters():
        expected = 0.05 if name.endswith("weight") and ".bn." not in name and ".norms." not in name else 0
        assert decay[id(parameter)] == expected, name


def test_every_group_follows_the_schedule_from_its_own_peak(data: DetectionData, tmp_path: Path) -> None:
    config = tiny_config(optimizer="muon", warmup_fraction=0.25, backbone_rate=0.3)
    trainer = tiny_trainer(data.images, config, steps=4, state_path=tmp_path / "a.safetensors")
    peaks = [group["lr"] for group in trainer.optimizer.param_groups]
    assert len({round(peak, 9) for peak in peaks}) >= 3  # or one peak would do for all
    heard: list[list[float]] = []
    told: list[float] = []

    def listen(report: StepReport) -> None:
        heard.append([group["lr"] for group in trainer.optimizer.param_groups])
        told.append(report.learning_rate)

    trainer.fit(listen, None)
    # A quarter of warming up, from a thousandth; then the cosine from 1 at a third of the way to 0.
    for rates, factor in zip(heard, (1e-3, 1.0, 0.75, 0.25), strict=True):
        assert rates == pytest.approx([peak * factor for peak in peaks])
    assert told == [rates[0] for rates in heard]


def test_gradients_are_clipped_to_the_norm_asked_for(data: DetectionData, tmp_path: Path) -> None:
    norms = []
    for clip in (1e-3, 1e6):
        config = tiny_config(gradient_clip=clip)
        trainer = tiny_trainer(data.images, config, steps=1, state_path=tmp_path / f"{clip}.safetensors")

        def measure(optimizer: torch.optim.Optimizer, *_: object) -> None:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norms.append(float(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))))

        trainer.optimizer.optimizer.register_step_pre_hook(measure)
        run_losses(trainer)
    assert norms[0] == pytest.approx(1e-3, rel=1e-2)
    assert norms[1] > 0.01


def evaluations_of(data: DetectionData, tmp_path: Path, *, every: int) -> list[int]:
    trainer = tiny_trainer(data.images, tiny_config(), steps=4, state_path=tmp_path / "a.safetensors")
    heard: list[int] = []
    assert trainer.fit(lambda report: None, lambda network, step: heard.append(step), evaluate_every=every)
    return heard


def test_evaluations_come_at_the_ends_of_epochs_and_at_the_end(data: DetectionData, tmp_path: Path) -> None:
    # Five images in batches of two are three steps an epoch; the run has four steps.
    assert evaluations_of(data, tmp_path, every=1) == [3, 4]
    assert evaluations_of(data, tmp_path, every=3) == [4]


class OneSecond(StepBudget):
    """Counted in steps, and always one second old."""

    @property
    def seconds_spent(self) -> float:
        return 1.0


@pytest.mark.parametrize(("seconds", "evaluated"), [(0.05, [3, 4]), (0.2, [4])])
def test_evaluations_may_take_a_tenth_of_the_time(
    data: DetectionData, tmp_path: Path, seconds: float, evaluated: list[int]
) -> None:
    trainer = tiny_trainer(data.images, tiny_config(), steps=4, state_path=tmp_path / "a.safetensors")
    trainer.budget = OneSecond(4)
    trainer._evaluation_seconds = seconds
    heard: list[int] = []
    trainer.fit(lambda report: None, lambda network, step: heard.append(step))
    assert heard == evaluated


@pytest.mark.parametrize(("scores", "kept"), [([0.1, 0.3, 0.2], [1, 2]), ([0.0, 0.0], [1, 2]), ([0.5, 0.5], [1, 2])])
def test_validation_keeps_the_best_and_of_equals_the_longer_trained(
    data: DetectionData, monkeypatch: pytest.MonkeyPatch, scores: list[float], kept: list[int]
) -> None:
    numbers = iter([{"AP": score} for score in scores])
    monkeypatch.setattr(validation_module, "detect_records", lambda detector, images: SplitAnswers())
    monkeypatch.setattr(validation_module, "validation_numbers", lambda data, found: next(numbers))
    heard: list[int] = []
    judge = Validation(
        data,
        wrap=lambda network: network,  # type: ignore[arg-type, return-value]
        metric="AP",
        keep=lambda network, step, numbers: heard.append(step),
        log=lambda network, step, numbers: None,
    )
    network = tiny_network()
    for step in range(1, len(scores) + 1):
        judge(network, step)
    assert heard == kept

"""Training with everything on: same batches with any number of workers and after a stop, same weights on a resume."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.load import config_from_dict
from configs.schema import Config
from detection import build_training
from detection.build_training import PRETRAINED_RATE
from detection.data.augment import Augmentation, AugmentSettings
from detection.data.colour import ColourSettings
from detection.data.discover import load_dataset
from detection.data.loader import PLAIN, Batch, share_of_odds
from detection.data.records import DetectionData
from detection.preprocess import Image
from detection.roi_sampling import RoiSamplingSettings
from detection.schedule import StepBudget
from proposals.structures import Proposals
from tests.builders import toy_images, write_voc
from tests.detection.tiny import run_losses, tiny_config, tiny_network, tiny_trainer

STEPS = 10
EVERYTHING = {
    "augment": {"mosaic": 0.7, "mosaic_until": 0.5, "iou_crop": 0.5, "many_epochs": 0},
    "train": {"multi_scale": 0.5},
}


@pytest.fixture
def data(tmp_path: Path) -> DetectionData:
    return load_dataset(write_voc(tmp_path / "toy", {"train": toy_images(5)}), "train")


def with_options(options: dict[str, Any], **train: object) -> Config:
    values = tiny_config(**train).model_dump(mode="json")
    for section, entries in options.items():
        values[section] |= entries
    return config_from_dict(values, schema=Config)


def corners(image: Image) -> Proposals:
    """Two proposals, upper left and lower right."""
    height, width = image.shape[:2]
    boxes = torch.tensor([[0, 0, width / 2, height / 2], [width / 2, height / 2, width, height]])
    return Proposals(boxes, torch.tensor([0.9, 0.8]), (height, width))


def batches_of(data: DetectionData, config: Config, *, first_step: int = 0) -> list[Batch]:
    source = build_training.build_batches(config, data.images, corners)
    return list(islice(source.batches(first_step, StepBudget(STEPS).progress), STEPS - first_step))


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert [batch.file_names for batch in one] == [batch.file_names for batch in other]
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.images, b.images)
        for first, second in zip(a.targets, b.targets, strict=True):
            assert torch.equal(first.boxes, second.boxes)
            assert torch.equal(first.labels, second.labels)
            assert torch.equal(first.ignore, second.ignore)
        assert a.given is not None
        assert b.given is not None
        assert all(torch.equal(p.boxes, q.boxes) for p, q in zip(a.given, b.given, strict=True))


def test_batches_do_not_depend_on_workers_or_stops(data: DetectionData) -> None:
    config = with_options(EVERYTHING)
    whole = batches_of(data, config)
    torch.manual_seed(7)
    assert_equal(whole, batches_of(data, config))
    assert_equal(whole, batches_of(data, with_options(EVERYTHING, workers=2)))
    assert_equal(whole[4:], batches_of(data, config, first_step=4))  # three steps are an epoch


def test_every_value_reaches_its_place(data: DetectionData, monkeypatch: pytest.MonkeyPatch) -> None:
    """All numbers differ, so that no two can be exchanged."""
    config = with_options(
        {
            "augment": {
                "horizontal_flip": 0.1,
                "vertical_flip": 0.2,
                "scale": [0.6, 1.7],
                "brightness": 0.11,
                "contrast": 0.12,
                "saturation": 0.13,
                "hue": 0.14,
            },
            "classifier": {
                "rois_per_image": 21,
                "foreground_fraction": 0.3,
                "foreground_iou": 0.45,
                "sample_fraction": 0.7,
            },
            "proposals": {"num_train": 33, "num_detect": 22},
        },
        ema_decay=0.9,
        gradient_clip=3.0,
        checkpoint_seconds=7,
    )
    given: list[AugmentSettings] = []

    def remember(settings: AugmentSettings) -> Augmentation:
        given.append(settings)
        return Augmentation(settings)

    monkeypatch.setattr(build_training, "Augmentation", remember)
    build_training.build_batches(config, data.images)
    assert given == [
        AugmentSettings(
            horizontal_flip=0.1,
            vertical_flip=0.2,
            scale=(0.6, 1.7),
            colour=ColourSettings(brightness=0.11, contrast=0.12, saturation=0.13, hue=0.14),
        )
    ]
    objective = build_training.build_objective(config, tiny_network(config)).settings
    assert objective.sampling == RoiSamplingSettings(num_rois=21, foreground_fraction=0.3, foreground_iou=0.45)
    assert (objective.sample_fraction, objective.proposal_settings.num_proposals) == (0.7, 33)
    settings = build_training.training_settings(config)
    assert (settings.ema_decay, settings.gradient_clip, settings.checkpoint_seconds) == (0.9, 3.0, 7)


def test_mosaics_end_and_sides_vary_around_that_of_the_phase(data: DetectionData) -> None:
    whole = batches_of(data, with_options(EVERYTHING))
    mosaics = [any(" + " in name for name in batch.file_names) for batch in whole]
    assert sum(mosaics[:5]) >= 3
    assert not any(mosaics[5:])
    # The first half is at 0.6 * 96 = 57.6, so 64: sides 32 to 96; the second at 96: 1.5 and 4.5 strides, so 64 to 128.
    sides = [max(target.image_size_hw[0] for target in batch.targets) for batch in whole]
    longest = [max(sides[i], *(target.image_size_hw[1] for target in batch.targets)) for i, batch in enumerate(whole)]
    assert set(longest[:5]) <= {32, 64, 96}
    assert set(longest[5:]) <= {64, 96, 128}
    assert len(set(longest)) > 2


def test_off_by_default(data: DetectionData) -> None:
    off = {"train": {"multi_scale": 0.0, "backbone_rate": None}}
    default = tiny_config()
    assert with_options(off) == default
    assert default.train.patience is None
    batches = batches_of(data, default)
    assert {max(t.image_size_hw) for batch in batches for t in batch.targets} == {64, 96}
    assert not any(" + " in name for batch in batches for name in batch.file_names)  # a short run has no mosaics


def mosaics_of(
    data: DetectionData, budget: Any, *, many_epochs: int, enough_steps: int = 0, by_time: bool = False
) -> list[bool]:
    """Whether each of the first 22 batches, of three a pass, has a mosaic; every view is one if it may be."""
    config = with_options({"augment": {"mosaic": 1.0, "mosaic_until": 1.0, "many_epochs": many_epochs}})
    source = build_training.build_batches(config, data.images)
    source = replace(source, enough_steps=enough_steps, by_time=by_time)
    batches = islice(source.batches(0, budget.progress), 22)
    return [any(" + " in name for name in batch.file_names) for batch in batches]


def test_a_run_of_many_passes_has_mosaics_after_its_first(data: DetectionData) -> None:
    assert mosaics_of(data, StepBudget(24), many_epochs=8) == [False] * 3 + [True] * 19
    assert mosaics_of(data, StepBudget(24), many_epochs=22) == [False] * 22
    assert mosaics_of(data, StepBudget(23), many_epochs=0) == [True] * 22
    assert mosaics_of(data, StepBudget(24), many_epochs=8, enough_steps=66) == [False] * 22
    assert mosaics_of(data, StepBudget(24), many_epochs=8, enough_steps=24) == [False] * 3 + [True] * 19
    assert build_training.build_batches(tiny_config(), data.images).enough_steps == build_training.ENOUGH_STEPS


@pytest.mark.parametrize(
    ("steps", "expected"), [(0, 0.0), (45, 0.0), (46, 0.0133), (90, 0.6), (119, 0.9867), (120, 1.0), (600, 1.0)]
)
def test_between_three_eighths_of_many_passes_and_all_of_them_the_odds_rise(steps: int, expected: float) -> None:
    assert share_of_odds(steps, 120) == pytest.approx(expected, abs=1e-4)
    assert share_of_odds(steps, 0) == 1.0


def test_a_run_of_three_quarters_of_many_passes_has_three_fifths_of_the_mosaics(data: DetectionData) -> None:
    config = with_options({"augment": {"mosaic": 1.0, "iou_crop": 0.4, "mosaic_until": 0.9, "many_epochs": 8}})
    source = replace(build_training.build_batches(config, data.images), enough_steps=0)
    odds = [source.odds_at(step, StepBudget(18).progress(step)) for step in range(18)]
    assert odds[:3] == [PLAIN] * 3
    for step, each in enumerate(odds[3:], start=3):
        assert each == pytest.approx((0.6 if step < 0.9 * 18 else 0.0, 0.24))


def test_passes_of_a_budget_of_minutes_are_told_by_its_pace(data: DetectionData) -> None:
    class SlowAtFirst:
        """A third of the time for six steps, the rest for 42: two passes tell of six, all of sixteen."""

        def progress(self, step: int) -> float:
            return step / 18 if step <= 6 else 1 / 3 + (step - 6) / 63

    config = with_options({"augment": {"mosaic": 1.0, "mosaic_until": 1.0, "many_epochs": 8}})
    source = replace(build_training.build_batches(config, data.images), enough_steps=0)
    odds = [source.odds_at(step, SlowAtFirst().progress(step)).mosaic for step in range(22)]
    assert odds[:7] == pytest.approx([0.0] * 3 + [0.6] * 4)
    assert 6 < odds.index(1.0) < 15
    assert all(odd == 1.0 for odd in odds[odds.index(1.0) :])
    assert odds[6:] == sorted(odds[6:])


def test_a_pace_that_small_inputs_make_is_not_kept_up(data: DetectionData) -> None:
    class FastAtFirst:
        """Half of the time for 16 steps of small inputs, half for 8 of large ones: 24 are eight passes."""

        def progress(self, step: int) -> float:
            return step / 32 if step <= 16 else 0.5 + (step - 16) / 16

    by_time = partial(mosaics_of, data, FastAtFirst(), by_time=True)
    assert any(by_time(many_epochs=14))
    assert not any(by_time(many_epochs=22))
    assert any(mosaics_of(data, FastAtFirst(), many_epochs=22))  # as if all steps took as long


@pytest.mark.parametrize(
    ("weights", "rate", "expected"),
    [("shipped", None, PRETRAINED_RATE), ("none", None, 1.0), ("shipped", 1.0, 1.0), ("none", 0.5, 0.5)],
)
def test_a_backbone_that_has_learnt_learns_more_slowly(weights: str, rate: float | None, expected: float) -> None:
    config = with_options({"backbone": {"weights": weights}, "train": {"backbone_rate": rate}})
    network = tiny_network(config)
    optimizer = build_training.build_optimizer(config, network, torch.float32)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    ratio = rate_of[id(network.backbone.conv1.conv.weight)] / rate_of[id(network.classifier.trunk.weight)]
    assert ratio == pytest.approx(expected)


@pytest.mark.slow
def test_a_resume_with_everything_on_is_exact(data: DetectionData, tmp_path: Path) -> None:
    config = with_options(EVERYTHING, optimizer="muon", backbone_rate=0.1)
    whole = tiny_trainer(data.images, config, steps=2, state_path=tmp_path / "whole.safetensors")
    losses = run_losses(whole)
    assert np.isfinite(losses).all()
    first = tiny_trainer(data.images, config, steps=2, state_path=tmp_path / "parts.safetensors")
    first.fit(lambda report: first.request_stop(), None)
    assert first.step == 1
    second = tiny_trainer(data.images, config, steps=2, state_path=tmp_path / "parts.safetensors")
    second.restore()
    assert run_losses(second) == losses[1:]
    pairs = zip(whole.network.parameters(), second.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)

"""Budgets and what follows from them."""

from __future__ import annotations

import pytest
import torch

from detection.averaging import AveragedWeights
from detection.schedule import (
    STEP_OVERHEAD,
    ResolutionPhase,
    StepBudget,
    TimeBudget,
    cosine_schedule,
    draw_side,
    low_resolution_phases,
    paper_schedule,
    share_of_steps,
    side_at,
    sides_around,
)
from tests.detection.tiny import tiny_network


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_step_budget() -> None:
    budget = StepBudget(8)
    assert [budget.progress(step) for step in (0, 2, 8, 9)] == [0, 0.25, 1, 1]
    assert budget.describe() == "8 steps"


def test_time_budget_counts_earlier_sittings() -> None:
    clock = Clock()
    budget = TimeBudget(60, clock=clock)
    clock.now += 15
    assert budget.progress(0) == pytest.approx(0.25)
    budget.start(30)
    assert budget.progress(0) == pytest.approx(0.5)
    clock.now += 45
    assert budget.progress(12345) == 1
    assert budget.seconds_spent == pytest.approx(75)
    assert budget.describe() == "1 minutes"


def test_learning_rate_rises_then_falls_to_zero() -> None:
    factor = cosine_schedule(0.1)
    assert factor(0.05, 0) == pytest.approx(0.5)
    assert factor(0.1, 0) == pytest.approx(1)
    assert factor(0.55, 3) == pytest.approx(0.5)  # half-way of the cosine
    assert factor(1.0, 9) == pytest.approx(0)
    assert factor(0.0, 0) > 0
    assert cosine_schedule(0.0)(0.0, 0) == 1


def test_the_paper_takes_4_percent_off_every_8_epochs() -> None:
    assert [paper_schedule(0.5, epoch) for epoch in (0, 7, 8, 16)] == pytest.approx([1, 1, 0.96, 0.9216])


def test_input_side_is_small_first_and_a_multiple_of_the_stride() -> None:
    phases = low_resolution_phases(416, fraction=0.5, scale=0.6)
    sides = [side_at(p, phases) for p in (0.0, 0.49, 0.5, 1.0)]
    assert sides == [256, 256, 416, 416]  # 0.6 * 416 = 249.6, the nearest multiple of 32 is 256
    assert side_at(0.0, low_resolution_phases(416, fraction=0.0, scale=0.6)) == 416
    assert side_at(0.0, low_resolution_phases(32, fraction=0.5, scale=0.25)) == 32
    assert (
        side_at(0.0, low_resolution_phases(128, fraction=0.5, scale=0.25)) == 64
    )  # one image of one place has no spread


def test_the_last_phase_that_has_begun_holds() -> None:
    phases = (ResolutionPhase(0.0, 64), ResolutionPhase(0.5, 96), ResolutionPhase(0.9, 128))
    assert [side_at(p, phases) for p in (0.0, 0.4999, 0.5, 0.89, 0.9, 1.0)] == [64, 64, 96, 96, 128, 128]


def test_sides_of_multi_scale_training_are_multiples_of_the_stride_around_the_middle() -> None:
    # 384 * 0.75 = 288 and 384 * 1.25 = 480; 384 * 0.9 = 345.6 and 384 * 1.1 = 422.4 are nearest to 352 and 416.
    assert list(sides_around(384, 0.25)) == [288, 320, 352, 384, 416, 448, 480]
    assert list(sides_around(384, 0.1)) == [352, 384, 416]
    assert list(sides_around(384, 0.0)) == [384]
    assert list(sides_around(384, 0.08)) == [384]  # 30.7 pixels are less than one multiple
    assert list(sides_around(32, 0.5)) == [32]
    assert list(sides_around(96, 0.7)) == [64, 96, 128, 160]


def test_steps_at_smaller_inputs_take_less_of_the_time() -> None:
    phases = low_resolution_phases(400, fraction=0.5, scale=0.64)  # 256 pixels
    cost = STEP_OVERHEAD + (1 - STEP_OVERHEAD) * 0.64**2
    low, full = 0.5 / cost, 0.5
    for progress, before in ((0.0, 0.0), (0.25, low / 2), (0.5, low), (0.75, low + full / 2), (1.0, low + full)):
        assert share_of_steps(progress, phases) == pytest.approx(before / (low + full))
    assert share_of_steps(0.3, (ResolutionPhase(0.0, 384),)) == pytest.approx(0.3)


def test_the_side_follows_from_seed_and_step_and_all_sides_occur() -> None:
    drawn = [draw_side(384, 0.25, seed=3, step=step) for step in range(200)]
    assert drawn == [draw_side(384, 0.25, seed=3, step=step) for step in range(200)]
    assert drawn != [draw_side(384, 0.25, seed=4, step=step) for step in range(200)]
    counts = {side: drawn.count(side) for side in sides_around(384, 0.25)}
    assert sum(counts.values()) == 200
    assert min(counts.values()) > 10  # 200 / 7 = 29 expected
    assert draw_side(100, 0.0, seed=3, step=0) == 100


def test_average_follows_the_weights() -> None:
    network = tiny_network()
    average = AveragedWeights(network, decay=0.5)
    start = network.pyramid.laterals[0].conv.weight.detach().clone()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
        network.backbone.conv1.bn.num_batches_tracked += 3
    average.update(network)
    # First update: decay = min(0.5, 1 / 11), so 10/11 of the step is taken.
    torch.testing.assert_close(average.network.pyramid.laterals[0].conv.weight, start + 10 / 11)
    assert average.network.backbone.conv1.bn.num_batches_tracked == 3
    assert not any(parameter.requires_grad for parameter in average.network.parameters())


def test_without_decay_the_average_is_the_network() -> None:
    network = tiny_network()
    average = AveragedWeights(network, decay=0.0)
    with torch.no_grad():
        network.multibox.head.projections[0].bias.fill_(7.0)
    average.update(network)
    assert (average.network.multibox.head.projections[0].bias == 7).all()

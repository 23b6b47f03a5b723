"""How far training has come, and what follows from it: learning rate and input size."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from detection.chance import Stream
from detection.preprocess import PAD_MULTIPLE

LEAST_SIDE = 2 * PAD_MULTIPLE
"""Least input side: batch normalisation needs more than the one place that the coarsest map of one image would have."""

STEP_OVERHEAD = 0.18
"""Part of a step's time that does not grow with the area of its images: two cores made 2.1 times as many steps at 0.6
of the side (docs/decisions.md, 22)."""


class Budget(Protocol):
    """What a run may spend."""

    @property
    def seconds_spent(self) -> float | None:
        """Seconds used by all sittings of the run; None where time does not count."""

    def start(self, seconds_before: float) -> None:
        """A sitting begins; earlier ones have used ``seconds_before``."""

    def progress(self, step: int) -> float:
        """Share of the budget spent before ``step``, in [0, 1]."""

    def describe(self) -> str:
        """The budget in words."""


@dataclass(frozen=True)
class StepBudget:
    """A fixed number of steps: the run is the same on any machine."""

    steps: int

    @property
    def seconds_spent(self) -> float | None:
        """None: time does not count."""
        return None

    def start(self, seconds_before: float) -> None:
        """Nothing to do: time does not count."""

    def progress(self, step: int) -> float:
        """Share of the steps done."""
        return min(1.0, step / self.steps)

    def describe(self) -> str:
        """For example "1,480 steps"."""
        return f"{self.steps:,} steps"


class TimeBudget:
    """A wall-clock budget: the schedule stretches to fit it, so results depend on the machine's speed.

    Args:
        seconds: The budget.
        clock: Seconds of a steady clock.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self.start(0.0)

    def start(self, seconds_before: float) -> None:
        """Starts the clock, with the seconds that earlier sittings of the same run used."""
        self._start = self._clock() - seconds_before

    @property
    def seconds_spent(self) -> float:
        """Seconds used so far, by all sittings."""
        return self._clock() - self._start

    def progress(self, step: int) -> float:
        """Share of the time gone; the step does not matter."""
        return min(1.0, self.seconds_spent / self.seconds)

    def describe(self) -> str:
        """For example "15 minutes"."""
        return f"{self.seconds / 60:g} minutes"


Schedule = Callable[[float, int], float]
"""Share of the peak learning rate: progress in [0, 1] and whole epochs done -> factor."""


def cosine_schedule(warmup: float) -> Schedule:
    """Rises linearly over ``warmup`` of the run, then falls along a cosine to 0; in [0, 1]."""

    def factor(progress: float, epoch: int) -> float:
        if progress < warmup:
            return max(progress / warmup, 1e-3)
        rest = (progress - warmup) / (1 - warmup)
        return 0.5 * (1 + math.cos(math.pi * rest))

    return factor


def paper_schedule(progress: float, epoch: int) -> float:
    """Falls by 4 % every 8 epochs ("Going deeper with convolutions", 1409.4842, section 6)."""
    return 0.96 ** (epoch // 8)


@dataclass(frozen=True)
class ResolutionPhase:
    """From ``start``, a share of the run in [0, 1), inputs have this side in pixels."""

    start: float
    side: int


def side_at(progress: float, phases: Sequence[ResolutionPhase]) -> int:
    """Side of the input: that of the last phase that has begun.

    Small inputs cost the square of their side: early epochs, which learn coarse things, pass several times faster.

    Args:
        progress: Share of the run.
        phases: At least one; the first starts at 0, the others later, in order.
    """
    return next(phase.side for phase in reversed(phases) if progress >= phase.start)


def share_of_steps(progress: float, phases: Sequence[ResolutionPhase]) -> float:
    """Which share of a run's steps, about, lies before a share of its time: steps at smaller inputs take less.

    Args:
        progress: Share of the time, in [0, 1].
        phases: As for ``side_at``.
    """

    def steps_until(time_share: float) -> float:
        ends = [*(phase.start for phase in phases[1:]), 1.0]
        sizes = [phase.side / phases[-1].side for phase in phases]
        costs = [STEP_OVERHEAD + (1 - STEP_OVERHEAD) * size**2 for size in sizes]
        spans = (max(0.0, min(time_share, end) - phase.start) for phase, end in zip(phases, ends, strict=True))
        return sum(span / cost for span, cost in zip(spans, costs, strict=True))

    return steps_until(progress) / steps_until(1.0)


def low_resolution_phases(longest_side: int, *, fraction: float, scale: float) -> tuple[ResolutionPhase, ...]:
    """Inputs scaled by ``scale`` for the first ``fraction`` of the run, then full; never below ``LEAST_SIDE``."""
    low = min(longest_side, max(LEAST_SIDE, round(longest_side * scale / PAD_MULTIPLE) * PAD_MULTIPLE))
    full = ResolutionPhase(fraction, longest_side)
    return (ResolutionPhase(0.0, low), full) if fraction else (full,)


def sides_around(side: int, spread: float) -> range:
    """Sides that multi-scale training draws from.

    Args:
        side: The middle, a multiple of ``PAD_MULTIPLE``.
        spread: Share in [0, 1).

    Returns:
        The multiples of ``PAD_MULTIPLE`` from ``side * (1 - spread)`` to ``side * (1 + spread)``, none below
        ``LEAST_SIDE``; the side alone where the spread comes to less than one.
    """
    steps = int(side * spread / PAD_MULTIPLE + 1e-9)  # 0.25 of 384 is three, whatever its last binary digit
    least = min(side, max(LEAST_SIDE, side - steps * PAD_MULTIPLE))
    return range(least, side + steps * PAD_MULTIPLE + 1, PAD_MULTIPLE)


def draw_side(side: int, spread: float, *, seed: int, step: int) -> int:
    """The side of a step's batch: one of ``sides_around``, at equal odds; it follows from seed and step alone."""
    if spread == 0:
        return side
    sides = sides_around(side, spread)
    return sides[int(np.random.default_rng((seed, step, 0, Stream.SIDE)).integers(len(sides)))]

"""Intervals and differences from given resamples, by hand arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from detection.evaluation.intervals import Numbers, estimate, logit_interval, percentile_interval, subtract


def numbers_of(itself: float, drawn: Sequence[float], left_out: Sequence[float] = (), *, num_images: int) -> Numbers:
    return Numbers(itself, np.array(drawn), np.array(left_out), num_images)


def test_the_logit_interval_by_hand() -> None:
    # Bootstrap: deviation 0.1 of two resamples is 0.1 * sqrt(2), times sqrt(2 / 1) = 0.2; jackknife: 0.01 * sqrt(1).
    numbers = numbers_of(0.5, [0.5, 0.7], [0.49, 0.51], num_images=2)
    # The bias of 0.1 and the spread are divided by 0.5 * 0.5; t(1; 0.975) = 12.7062.
    interval = logit_interval(numbers)
    assert interval is not None
    centre, reach = -0.1 / 0.25, 12.7062 * 0.2 / 0.25
    assert interval.low == pytest.approx(1 / (1 + np.exp(-(centre - reach))), rel=1e-4)
    assert interval.high == pytest.approx(1 / (1 + np.exp(-(centre + reach))), rel=1e-4)
    # Nothing but the jackknife sees a spread: sqrt((2 - 1) / 2 * 2 * 0.1**2) = 0.1; no bias.
    wider = logit_interval(numbers_of(0.5, [0.5, 0.5], [0.4, 0.6], num_images=2))
    assert wider is not None
    assert wider.high == pytest.approx(1 / (1 + np.exp(-12.7062 * 0.1 / 0.25)), rel=1e-4)


def test_the_expanded_percentiles() -> None:
    # 72 images: t(71; 0.025) = -1.99394, times sqrt(72 / 71) = -2.00793; the normal share below is 0.02233.
    numbers = numbers_of(0.5, np.arange(1001.0).tolist(), [0.5, 0.5], num_images=72)
    interval = percentile_interval(numbers)
    assert interval is not None
    assert interval.low == pytest.approx(22.33, abs=0.02)
    assert interval.high == pytest.approx(977.67, abs=0.02)
    # The jackknife's error is 578 * sqrt(2 - 1), twice that of 1001 even steps, sqrt((1001**2 - 1) / 12) = 289.
    stretched = percentile_interval(replace(numbers, left_out=np.array([-578.0, 578.0])))
    assert stretched is not None
    assert stretched.low == pytest.approx(500 - 2 * 477.67, rel=2e-3)
    assert percentile_interval(replace(numbers, num_images=1)) is None
    assert percentile_interval(replace(numbers, drawn=numbers.drawn[:0])) is None


def test_a_number_that_does_not_exist_has_no_interval() -> None:
    told = estimate(numbers_of(float("nan"), [0.5, 0.6], [0.5, 0.5], num_images=9))
    assert told.value is None
    assert told.interval is None


def test_a_difference_within_the_noise_stays_open() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 500)
    a = numbers_of(0.5, (0.5 + noise).tolist(), [0.5, 0.5], num_images=40)
    b = numbers_of(0.49, (0.49 + noise[::-1]).tolist(), [0.49, 0.49], num_images=40)
    told = subtract(a, b)
    assert told.verdict == "open"
    assert told.a_better is not None
    assert 0.4 < told.a_better < 0.7
    assert subtract(replace(a, num_images=1), b).verdict == "unknown"


def test_rounding_makes_nobody_better() -> None:
    a = numbers_of(0.3, [0.1 + 0.2, 0.4, 0.4], [0.3, 0.3], num_images=9)
    told = subtract(a, numbers_of(0.1 + 0.2, [0.3, 0.4, 0.4], [0.3, 0.3], num_images=9))
    assert (told.a_better, told.b_better, told.difference.value, told.verdict) == (0.0, 0.0, 0.0, "same")

"""Numbers as people read them, on pages and in the terminal alike."""

from __future__ import annotations

from detection.evaluation.intervals import Estimate, Interval


def number_text(value: float | None, missing: str = "n/a") -> str:
    """Three decimals, or ``missing`` where the number does not exist."""
    return missing if value is None else f"{value:.3f}"


def interval_text(interval: Interval | None) -> str:
    """``0.580..0.645``; empty where there is no interval."""
    return "" if interval is None else f"{interval.low:.3f}..{interval.high:.3f}"


def estimate_text(estimate: Estimate) -> str:
    """A number and its interval: ``0.612 [0.580..0.645]``."""
    bounds = interval_text(estimate.interval)
    return number_text(estimate.value) + (f" [{bounds}]" if bounds else "")


def signed_text(estimate: Estimate) -> str:
    """A difference and its interval, with signs: ``+0.012 [-0.004..+0.030]``."""
    if estimate.value is None:
        return "n/a"
    interval = estimate.interval
    bounds = "" if interval is None else f" [{_signed(interval.low)}..{_signed(interval.high)}]"
    return _signed(estimate.value) + bounds


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # the sum makes -0.0 a plain 0.0

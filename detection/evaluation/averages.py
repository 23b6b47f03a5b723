"""Averages over classes of which some have no value."""

from __future__ import annotations

from collections.abc import Iterable


def mean_of_present(values: Iterable[float | None]) -> float | None:
    """Mean over the values that exist, as mAP is of the AP of the classes; None if none exists."""
    present = [value for value in values if value is not None]
    return float(sum(present) / len(present)) if present else None

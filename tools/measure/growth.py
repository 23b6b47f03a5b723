"""Time and memory by size: each size in a process of its own, since the peak of memory is that of a process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.table import Table

from detection.errors import InputError

Result = TypeVar("Result")


class Cost(NamedTuple):
    """What one size costs.

    Attributes:
        items: How many there were, of what is counted.
        seconds: Of each stage.
        gib: The most memory of the process.
    """

    items: int
    seconds: dict[str, float]
    gib: float


def parse_sizes(text: str) -> list[int]:
    """Numbers by commas, smallest first.

    Raises:
        InputError: If one is no positive number.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(f"--sizes {text}: expected numbers by commas, such as 1000,10000")
    return sorted({int(part) for part in parts})


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Notes how long the block takes."""
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


def in_new_process(work: Callable[[int], Result], size: int) -> Result:
    """Calls a function of a module in a fresh process."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, size).result()


def print_growth(console: Console, costs: Sequence[Cost], unit: str) -> None:
    """A row for each size, seconds per million in brackets, and below the power of the size with which time grows."""
    stages = list(costs[0].seconds)
    table = Table(unit, *stages, "memory, GiB")
    for cost in costs:
        times = [f"{cost.seconds[name]:.1f} s ({cost.seconds[name] / cost.items * 1e6:.1f})" for name in stages]
        table.add_row(f"{cost.items:,}", *times, f"{cost.gib:.2f}")
    console.print(table)
    for before, after in pairwise(costs):
        powers = ", ".join(f"{name} {_power(before, after, name):.2f}" for name in stages)
        allowed = _log_power(before.items, after.items)
        console.print(f"{before.items:,} to {after.items:,}: time grows with power {powers}; n log n is {allowed:.2f}")


def _power(before: Cost, after: Cost, stage: str) -> float:
    return math.log(after.seconds[stage] / before.seconds[stage]) / math.log(after.items / before.items)


def _log_power(before: int, after: int) -> float:
    """The power that n log n has between two sizes."""
    return 1 + math.log(math.log(after) / math.log(before)) / math.log(after / before)

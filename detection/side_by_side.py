"""Several pieces of work at once, each on its share of the cores.

A pass that spreads each operator over all cores waits for the slower one after each; GoogLeNet has many small ones. Two
batches side by side, each on a core of its own, take a sixth less time an image (docs/decisions.md, 54).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_LANES = 4
"""More than these would wait for Python, which runs one thread at a time."""

CPU = torch.device("cpu")


def count_lanes(device: torch.device = CPU) -> int:
    """How many pieces of work a device does best at once: one for each core of a CPU, up to ``MOST_LANES``."""
    return min(torch.get_num_threads(), MOST_LANES) if device.type == "cpu" else 1


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], *, lanes: int) -> Generator[Result, None, None]:
    """``map(work, items)``, several at once in threads that share the cores.

    A generator that is left early lets what has begun come to its end, and begins nothing more.

    Args:
        work: May be called by several threads at once.
        items: Taken one by one, a few ahead of the results.
        lanes: How many at once, 1 or more; 1 works in this thread on all cores.

    Yields:
        What ``work`` answers, in the order of the items; what it raises is raised at its turn.
    """
    if lanes == 1:
        yield from map(work, items)
        return
    cores, remaining = torch.get_num_threads(), iter(items)
    pool = ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(max(1, cores // lanes),))
    try:
        # One more than the lanes, so that none waits while a result is used.
        pending: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(remaining, lanes + 1))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # the threads' number is in part that of the whole process

"""Several pieces of work at once, each on its share of the cores.

A pass that spreads each operator over all cores waits for the slower one after each; GoogLeNet has many small ones. On
two cores, two batches side by side take a sixth less time an image (docs/decisions.md, 54).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_LANES = 4
"""More than these would wait for Python, which runs one thread at a time."""

CPU = torch.device("cpu")


def count_lanes(device: torch.device = CPU) -> int:
    """How many pieces of work a device does best at once: up to ``MOST_LANES`` that share all cores of a CPU evenly."""
    if device.type != "cpu":
        return 1
    cores = torch.get_num_threads()
    return max(range(1, min(cores, MOST_LANES) + 1), key=lambda lanes: (lanes > 1, lanes * (cores // lanes), lanes))


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], *, lanes: int, waiting: int = 1
) -> Generator[Result, None, None]:
    """``map(work, items)``, several at once in threads that share the cores.

    A generator that is left early lets what has begun come to its end, and begins nothing more.

    Args:
        work: May be called by several threads at once.
        items: Taken one by one, a few ahead of the results; if this raises, what was taken before is answered first.
        lanes: How many at once, 1 or more; 1 works in this thread on all cores.
        waiting: How many items more are taken ahead; a slow one keeps the lanes waiting when as many are done.

    Yields:
        What ``work`` answers, in the order of the items; what it raises is raised at its turn.
    """
    if lanes == 1:
        yield from map(work, items)
        return
    cores, remaining = torch.get_num_threads(), iter(items)
    pool = ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(max(1, cores // lanes),))
    pending: deque[Future[Result]] = deque()
    fault: Exception | None = None
    try:
        while fault is None or pending:
            try:
                while fault is None and len(pending) < lanes + waiting:
                    pending.append(pool.submit(work, next(remaining)))
            except Exception as error:  # StopIteration too: there is nothing more to take
                fault = error
            if pending:
                yield pending.popleft().result()
        if fault is not None and not isinstance(fault, StopIteration):
            raise fault
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        finally:
            torch.set_num_threads(cores)  # the threads' number is in part that of the whole process


class Room:
    """Lets work in as long as there is room for what it holds in memory; what is too large comes in alone.

    Args:
        most: How much there is room for.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Waits for room, and keeps it for the time of the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + amount <= self.most)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()

"""Several pieces of work at once, each on its share of the cores.

A pass that spreads each operator over all cores waits for the slower one after each; GoogLeNet has many small ones. On
two cores, two batches side by side take a sixth less time an image (docs/decisions.md, 54).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_LANES = 4
"""More than these would wait for Python, which runs one thread at a time."""

SERIAL = 0.4
"""Share of a pass on one core that further cores do not shorten (docs/decisions.md, 54)."""

CPU = torch.device("cpu")


def count_lanes(device: torch.device = CPU) -> int:
    """With how many pieces of work at once, ``MOST_LANES`` at most, a device gets most done; on a GPU with one."""
    if device.type != "cpu":
        return 1
    cores = torch.get_num_threads()
    return max(range(1, min(cores, MOST_LANES) + 1), key=lambda lanes: lanes * _speed(cores // lanes))


def _speed(cores: int) -> float:
    """How much faster than on one core a pass is (Amdahl's law)."""
    return 1 / (SERIAL + (1 - SERIAL) / cores)


def side_by_side(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    lanes: int,
    waiting: int = 1,
    leaving: Callable[[], object] = lambda: None,
) -> Generator[Result, None, None]:
    """``map(work, items)``, several at once in threads that share the cores.

    A generator that is left early lets what has begun come to its end, and begins nothing more.

    Args:
        work: May be called by several threads at once.
        items: Taken one by one, a few ahead of the results; if this raises, what was taken before is answered first.
        lanes: How many at once, 1 or more; 1 works in this thread on all cores.
        waiting: How many items more are taken ahead; a slow one keeps the lanes waiting when as many are done.
        leaving: Called at the end, also an early one, before what has begun is waited for.

    Yields:
        What ``work`` answers, in the order of the items; what it raises is raised at its turn.
    """
    if lanes == 1:
        for item in items:
            yield work(item)
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
            leaving()
            pool.shutdown(cancel_futures=True)
        finally:
            torch.set_num_threads(cores)  # the threads' number is in part that of the whole process


class Room:
    """Lets work in as long as there is room for what it holds in memory; nobody passes the one that waits at the door.

    What is larger than the room comes in alone.

    Args:
        most: How much there is room for.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._used = 0
        self._is_closed = False
        self._door = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Waits for room, and keeps it for the time of the block.

        Raises:
            CancelledError: If the room was closed before.
        """
        # Who waits for much room stands in the door, or those who need less would go before it for ever.
        with self._door, self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._used or self._used + amount <= self.most)
            if self._is_closed:
                raise CancelledError
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()

    def close(self) -> None:
        """Lets nothing more in: what waits ends."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

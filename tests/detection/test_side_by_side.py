"""Several pieces of work at once: order, errors, cores, and an early end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing

import pytest
import torch

from detection.side_by_side import Room, count_lanes, side_by_side

PATIENCE = 20.0


@pytest.fixture
def four_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(lanes: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))  # the later ones are done earlier
        return number * number

    assert list(side_by_side(work, iter(range(20)), lanes=lanes)) == [number * number for number in range(20)]
    assert list(side_by_side(work, [], lanes=lanes)) == []


def test_as_many_at_once_as_there_are_lanes() -> None:
    meeting = threading.Barrier(3, timeout=PATIENCE)
    # Each of the three waits for the other two.
    assert sorted(side_by_side(lambda _: meeting.wait(), range(3), lanes=3)) == [0, 1, 2]


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(("lanes", "share"), [(1, 4), (2, 2), (3, 1), (8, 1)])
def test_lanes_share_the_cores_and_give_them_back(lanes: int, share: int) -> None:
    assert list(side_by_side(lambda _: torch.get_num_threads(), range(6), lanes=lanes)) == [share] * 6
    assert torch.get_num_threads() == 4
    with closing(side_by_side(lambda number: 1 // number, [1, 0, 1], lanes=lanes)) as results:
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_cores")
def test_as_many_lanes_as_get_most_done() -> None:
    assert count_lanes(torch.device("cuda")) == 1
    # 6 cores do more as 3 x 2 than as 4 x 1, 10 more as 4 x 2 than as 2 x 5.
    for cores, lanes in {1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 3, 7: 3, 8: 4, 9: 4, 10: 4, 14: 4, 15: 4, 64: 4}.items():
        torch.set_num_threads(cores)
        assert count_lanes() == lanes, cores


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("waiting", [1, 6])
def test_items_are_taken_as_needed(lanes: int, waiting: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with closing(side_by_side(lambda number: number, items(), lanes=lanes, waiting=waiting)) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) == (3 if lanes == 1 else 2 + lanes + waiting)


def test_what_is_left_early_ends_what_has_begun_and_begins_nothing_more() -> None:
    begun: list[int] = []
    ended: list[int] = []
    go_on = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            assert go_on.wait(PATIENCE)
        ended.append(number)
        return number

    results = side_by_side(work, range(100), lanes=2, waiting=3)
    assert next(results) == 0
    while len(begun) < 3:
        time.sleep(0.001)
    threading.Timer(1.0, go_on.set).start()  # long after the pool has forgotten what waits
    results.close()
    assert sorted(begun) == sorted(ended) == [0, 1, 2]  # 3 and 4 were waiting


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_was_taken_is_answered_before_items_fail(lanes: int) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError

    heard: list[int] = []
    with pytest.raises(OSError):  # noqa: PT011 - this very one
        heard.extend(side_by_side(lambda number: number, items(), lanes=lanes, waiting=20))
    assert heard == [0, 1, 2, 3, 4]


def test_room_holds_what_fits_and_what_is_larger_goes_alone() -> None:
    room, inside = Room(10), [0]
    changed = threading.Lock()

    def work(amount: int) -> int:
        with room.taken(amount):
            with changed:
                inside[0] += amount
                assert inside[0] <= 10 or inside[0] == amount
            time.sleep(0.005)
            with changed:
                inside[0] -= amount
        return amount

    amounts = [4, 6, 3, 25, 5, 5, 0, 9, 2, 25, 25, 1]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, amounts)) == amounts


def test_what_fits_is_inside_together() -> None:
    room, meeting = Room(10), threading.Barrier(2, timeout=PATIENCE)

    def work(amount: int) -> None:
        with room.taken(amount):
            meeting.wait()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, [5, 5])) == [None, None]


def test_nobody_overtakes_what_needs_much_room() -> None:
    room, entered = Room(10), list[int]()

    def work(amount: int) -> None:
        with room.taken(amount):
            entered.append(amount)

    with room.taken(1), ThreadPoolExecutor(2) as pool, closing(room):
        large = pool.submit(work, 10)
        while not room._door.locked():
            time.sleep(0.001)
        small = pool.submit(work, 2)
        time.sleep(0.05)
        assert entered == []  # there is room for the second, but the first is before it
        room.close()  # nothing more is let in
        for waiting in (large, small):
            with pytest.raises(CancelledError):
                waiting.result(PATIENCE)
    assert entered == []


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_stop_iteration_of_the_work_is_no_end_of_the_items(lanes: int) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(side_by_side(next, [iter([1]), iter([])], lanes=lanes))

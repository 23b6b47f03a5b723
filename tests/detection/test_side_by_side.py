"""Several pieces of work at once: order, errors, cores, and an early end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from detection.side_by_side import MOST_LANES, count_lanes, side_by_side

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
def test_as_many_lanes_as_cores_on_a_cpu_alone() -> None:
    assert count_lanes() == 4
    assert count_lanes(torch.device("cuda")) == 1
    torch.set_num_threads(MOST_LANES + 3)
    assert count_lanes() == MOST_LANES
    torch.set_num_threads(1)
    assert count_lanes() == 1


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_is_left_early_begins_nothing_more_and_items_are_taken_as_needed(lanes: int) -> None:
    taken, begun = [], []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        begun.append(number)
        return number

    with closing(side_by_side(work, items(), lanes=lanes)) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + lanes + 1
    seen = len(begun)
    time.sleep(0.05)
    assert len(begun) == seen  # nobody works on

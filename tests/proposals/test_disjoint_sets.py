"""Disjoint sets as arrays against sets one by one."""

from __future__ import annotations

import numpy as np
import pytest

from proposals.selective_search.disjoint_sets import root_of, unite


@pytest.mark.parametrize("seed", range(20))
def test_united_sets_have_their_smallest_root(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parents = np.arange(60)
    sets = [{number} for number in range(60)]
    for _ in range(4):
        one, other = (root_of(parents, rng.integers(0, 60, 12)) for _ in range(2))
        unite(parents, one, other)
        for first, second in zip(one.tolist(), other.tolist(), strict=True):
            joined = sets[first] | sets[second]
            for member in joined:
                sets[member] = joined
        asked = rng.integers(0, 60, 30)
        assert root_of(parents, asked).tolist() == [min(sets[number]) for number in asked]
        assert (parents <= np.arange(60)).all()
    assert len({id(each) for each in sets}) < 30


def test_a_long_chain() -> None:
    parents = np.arange(5000)
    unite(parents, np.arange(4999), np.arange(1, 5000))
    assert (root_of(parents, np.arange(5000)) == 0).all()


def test_nothing_to_unite() -> None:
    parents = np.arange(3)
    unite(parents, np.empty(0, np.int64), np.empty(0, np.int64))
    assert parents.tolist() == [0, 1, 2]

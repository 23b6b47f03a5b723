"""Hierarchical grouping (Uijlings et al. 2013, algorithm 1): the most similar neighbours merge until one is left.

Legend: N regions of a segmentation, R = 2 * N - 1 regions of its hierarchy, E pairs of neighbours.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from proposals.selective_search.regions import Ints, Regions
from proposals.selective_search.settings import Measure
from proposals.selective_search.similarity import RegionTable


class Hierarchy(NamedTuple):
    """All regions, in order of creation: those of the segmentation, then one for each merge; the last is the whole.

    ``boxes`` (R, 4) xyxy half-open; ``merges`` (N - 1, 2), row i holds the parts of region N + i, the smaller first.
    """

    boxes: Ints
    merges: Ints


def group(regions: Regions, measure: Measure) -> Hierarchy:
    """Merges the two most similar neighbours again and again.

    Of equal similarities the pair with the smaller first region merges, then the one with the smaller second.

    Args:
        regions: N of them, at least 1; all are connected through neighbours, as the regions of any picture are.
        measure: The similarities that are summed.

    Returns:
        The hierarchy; R = 1 with no merges where N = 1.
    """
    table = RegionTable(regions, measure)
    neighbours = _list_neighbours(regions)  # of the regions that are not merged yet
    first, second = regions.neighbours.T
    # A heap with stale entries: no similarity ever changes, a pair only ends when one of its regions is merged.
    queue = list(zip((-table.similarities(first, second)).tolist(), first.tolist(), second.tolist(), strict=True))
    heapify(queue)
    merges = []
    while queue:
        _, left, right = heappop(queue)
        if left not in neighbours or right not in neighbours:
            continue
        merges.append((left, right))
        new = table.merge(left, right)
        around = _join(neighbours, left, right, new)
        similarities = table.similarities(new, np.array(around, dtype=np.int64)).tolist()
        for similarity, other in zip(similarities, around, strict=True):
            heappush(queue, (-similarity, other, new))
    return Hierarchy(table.boxes(), np.array(merges, dtype=np.int64).reshape(-1, 2))


def _list_neighbours(regions: Regions) -> dict[int, set[int]]:
    neighbours: dict[int, set[int]] = {region: set() for region in range(len(regions))}
    for first, second in regions.neighbours.tolist():
        neighbours[first].add(second)
        neighbours[second].add(first)
    return neighbours


def _join(neighbours: dict[int, set[int]], left: int, right: int, new: int) -> list[int]:
    """Puts ``new`` in the place of two regions and returns its neighbours; changes ``neighbours``."""
    around = neighbours.pop(left) | neighbours.pop(right)
    around -= {left, right}
    for region in around:
        neighbours[region] -= {left, right}
        neighbours[region].add(new)
    neighbours[new] = around
    return list(around)

"""What was found in overlapping views of an image, as one list in which every object counts once.

Suppression by overlap (IoU) does not see that a part belongs to a whole, and suppression by containment loses small
objects in front of large ones. So each box is asked first whether its view could see all of the object. It is *cut* if
it ends at an edge of its view inside the image, else *whole*. Two boxes of one class from two views are the same
object if

- both are whole, and their IoU exceeds one half;
- one is cut, and more than half of it lies in the whole one;
- both are cut, and their IoU exceeds one half within what both views show.

Whole boxes become their mean, weighted by squared scores, with the best one's score. A cut box gives way to a whole
one; to one of a coarser view only if that is not a mere guess. Cut boxes that no whole one explains are joined, at most
one of each view, and the smallest box around them has the best one's score. Two boxes of one view are never merged: the
detector kept both.

The detector sees every view at one size, so the larger the view, the coarser. What lies within a smaller view is judged
there: a coarser view's score for it is lowered by the ratio of the two scales. Objects that only the coarser view shows
whole keep theirs.

A whole box never gives way for lying in a larger one. So nested objects of one class stay if some view shows them
whole, as it is for all that are a little smaller than the overlap of two tiles.

Legend: V views, D detections of all views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detection.structures import Detections
from proposals.box_ops import box_iou, coverage

SAME_OBJECT = 0.5
"""Overlap above which two boxes are the same object, by each of the three measures."""

EDGE_PIXELS = 2.0
EDGE_SHARE = 0.05
"""How far from an edge a cut box may end: some pixels and a share of its side, since larger boxes err by more."""

LEAST_SURE = 0.5
"""A box of a coarser view, or a cut one, speaks for a cut box if its score is at least this share of the other's."""

Region = tuple[int, int, int, int]
"""xyxy in whole pixels of the image."""

Links = list[list[tuple[float, int]]]
"""For each of D boxes the others that are the same object: overlap by the measure that applies, and row."""


class View(NamedTuple):
    """A part of an image, and what was found in it, in pixels of the part."""

    region: Region
    detections: Detections


def merge_views(views: Sequence[View], image_size_hw: tuple[int, int]) -> Detections:
    """Puts the detections of all views together; the rule is told at the head of this file.

    Only views that overlap are compared, two at a time, so memory grows with D, not with its square.

    Args:
        views: V parts of the image, one or more.
        image_size_hw: Size of the image.

    Returns:
        Detections in pixels of the image, best first.
    """
    found = _collect(views, image_size_hw)
    links = _link(found)
    # Each group is one object; its first row is its best.
    groups = sorted([*_choose_whole(found, links), *_join_cut(found, links)], key=lambda group: found.rank[group[0]])
    best = torch.tensor([group[0] for group in groups], dtype=torch.int64)
    boxes = found.boxes[best]
    for place, rows in enumerate(groups):
        if len(rows) > 1:
            boxes[place] = _hull(found.boxes[rows]) if found.is_cut[rows[0]] else _mean(found, rows)
    return Detections(boxes, found.scores[best], found.labels[best], image_size_hw)


def _hull(boxes: Tensor) -> Tensor:
    """The smallest box around (N, 4) boxes."""
    return torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])


def _mean(found: _Found, rows: list[int]) -> Tensor:
    """The mean of boxes, weighted by their squared scores."""
    scores = found.scores[rows]
    weights = (2 * scores.clamp(min=torch.finfo(scores.dtype).tiny).log()).softmax(dim=0)  # no square is too small
    best, others = found.boxes[rows[0]], found.boxes[rows]
    return best + weights @ (others - best)  # equal boxes stay what they are, to the last bit


@dataclass(frozen=True)
class _Found:
    """The detections of all views, view after view, in pixels of the image.

    Attributes:
        boxes: (D, 4).
        scores: (D,), of coarse views lowered.
        labels: (D,).
        regions: Of the V views.
        spans: The rows of each of the V views.
        is_cut: Of each row.
        view: Of each row.
        order: The rows, best score first; of equal ones the first.
        rank: The place of each row in that order.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    regions: list[Region]
    spans: list[slice]
    is_cut: list[bool]
    view: list[int]
    order: list[int]
    rank: list[int]

    def speaks_for(self, row: int, other: int) -> bool:
        """Whether one box is sure enough beside another."""
        return bool(self.scores[row] >= LEAST_SURE * self.scores[other])

    def explains(self, row: int, cut: int) -> bool:
        """Whether a box makes a cut one inside it needless; an equally fine view that shows all of it knows better."""
        is_as_fine = _longest(self.region_of(row)) <= _longest(self.region_of(cut))
        return not self.is_cut[row] and (is_as_fine or self.speaks_for(row, cut))

    def region_of(self, row: int) -> Region:
        """The region of the view that a box is from."""
        return self.regions[self.view[row]]


def _collect(views: Sequence[View], image_size_hw: tuple[int, int]) -> _Found:
    boxes, is_cut, spans = [], [], []
    view: list[int] = []
    for number, (region, detections) in enumerate(views):
        moved = detections.boxes + detections.boxes.new_tensor([*region[:2], *region[:2]])
        boxes.append(moved)
        is_cut.append(_ends_at_inner_edge(moved, region, image_size_hw))
        spans.append(slice(len(view), len(view) + len(moved)))
        view.extend([number] * len(moved))
    regions = [each.region for each in views]
    trust = [
        _trust(moved, region, [other for other in regions if _longest(other) < _longest(region)], image_size_hw)
        for region, moved in zip(regions, boxes, strict=True)
    ]
    scores = torch.cat([each.detections.scores for each in views]) * torch.cat(trust)
    order = scores.argsort(descending=True, stable=True)
    return _Found(
        boxes=torch.cat(boxes),
        scores=scores,
        labels=torch.cat([each.detections.labels for each in views]),
        regions=regions,
        spans=spans,
        is_cut=torch.cat(is_cut).tolist(),
        view=view,
        order=order.tolist(),
        rank=order.argsort().tolist(),
    )


def _trust(boxes: Tensor, region: Region, finer: Sequence[Region], image_size_hw: tuple[int, int]) -> Tensor:
    """What the scores of a view are worth beside finer views that show the same object whole.

    Args:
        boxes: (D, 4) of the view, in pixels of the image.
        region: The view.
        finer: Views with shorter longest sides.
        image_size_hw: Size of the image.

    Returns:
        (D,) in (0, 1]: the scale of the view over that of the finest that shows the box whole; 1 where none does.
    """
    trust = torch.ones(len(boxes))
    for other in finer:
        edges = boxes.new_tensor(other)
        is_within = ((boxes[:, :2] >= edges[:2]) & (boxes[:, 2:] <= edges[2:])).all(dim=1)
        is_shown = is_within & ~_ends_at_inner_edge(boxes, other, image_size_hw)
        trust[is_shown] = trust[is_shown].clamp(max=_longest(other) / _longest(region))
    return trust


def _longest(region: Region) -> int:
    return max(region[2] - region[0], region[3] - region[1])


def _ends_at_inner_edge(boxes: Tensor, region: Region, image_size_hw: tuple[int, int]) -> Tensor:
    """(D, 4) boxes of one view, in pixels of the image -> (D,) bool: cut, as far as it can be told."""
    height, width = image_size_hw
    edges = boxes.new_tensor(region)
    is_inner = edges != boxes.new_tensor([0, 0, width, height])
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    is_near = (boxes - edges).abs() <= EDGE_PIXELS + EDGE_SHARE * sides
    return (is_near & is_inner).any(dim=1)


def _link(found: _Found) -> Links:
    """Which boxes are the same object."""
    links: Links = [[] for _ in found.view]
    regions = torch.tensor(found.regions, dtype=torch.float32)
    for one, other in _overlapping(regions):
        overlap = _overlap(found, regions, one, other)
        for row_in_one, row_in_other in (overlap > SAME_OBJECT).nonzero().tolist():
            row, partner = found.spans[one].start + row_in_one, found.spans[other].start + row_in_other
            value = float(overlap[row_in_one, row_in_other])
            links[row].append((value, partner))
            links[partner].append((value, row))
    return links


def _overlapping(regions: Tensor) -> Iterator[tuple[int, int]]:
    """Pairs of views that have pixels in common."""
    for one, region in enumerate(regions):
        others = regions[one + 1 :]
        sides = torch.minimum(region[2:], others[:, 2:]) - torch.maximum(region[:2], others[:, :2])
        for place in (sides > 0).all(dim=1).nonzero().flatten().tolist():
            yield one, one + 1 + place


def _overlap(found: _Found, regions: Tensor, one: int, other: int) -> Tensor:
    """Overlap of one view's boxes (rows) with another's (columns), by the measure that applies; 0 across classes."""
    a, b = found.boxes[found.spans[one]], found.boxes[found.spans[other]]
    a_cut = torch.tensor(found.is_cut[found.spans[one]], dtype=torch.bool)[:, None]
    b_cut = torch.tensor(found.is_cut[found.spans[other]], dtype=torch.bool)[None]
    a_seen, b_seen = _within(a, regions[other]), _within(b, regions[one])
    of_one = torch.where(a_cut, coverage(a, b), coverage(b, a).T)
    overlap = torch.where(a_cut == b_cut, box_iou(a, b), of_one)
    overlap = torch.where(a_cut & b_cut, box_iou(a_seen, b_seen), overlap)  # nan where neither reaches the other view
    same_class = found.labels[found.spans[one]][:, None] == found.labels[found.spans[other]][None]
    return overlap.nan_to_num(0.0) * same_class


def _within(boxes: Tensor, region: Tensor) -> Tensor:
    """What of (N, 4) boxes lies in a region (4,); empty where nothing does."""
    limits = region.view(2, 2)
    return torch.maximum(torch.minimum(boxes.view(-1, 2, 2), limits[1]), limits[0]).view(-1, 4)


def _choose_whole(found: _Found, links: Links) -> Iterator[list[int]]:
    """Whole boxes in groups of one object each, best first; of each view one joins, other matches are dropped."""
    gone: set[int] = set()
    for row in found.order:
        if found.is_cut[row] or row in gone:
            continue
        group, views = [row], {found.view[row]}
        for _, other in _nearest(row, links, found):
            if not found.is_cut[other] and other not in gone and found.view[other] not in views:
                group.append(other)
                views.add(found.view[other])
        gone.update(other for _, other in links[row])
        yield group


def _nearest(row: int, links: Links, found: _Found) -> list[tuple[float, int]]:
    """The others that are the same object, most overlap first."""
    return sorted(links[row], key=lambda link: (-link[0], found.rank[link[1]]))


def _join_cut(found: _Found, links: Links) -> Iterator[list[int]]:
    """The cut boxes that no whole one explains, as groups of one object each, best first."""
    # A whole box that gave way counts too: the better one stands for both.
    left = {
        row
        for row in found.order
        if found.is_cut[row] and not any(found.explains(other, row) for _, other in links[row])
    }
    for row in found.order:
        if row in left:
            yield _join(row, left, found, links)


def _join(seed: int, left: set[int], found: _Found, links: Links) -> list[int]:
    """The parts of one object, the seed first, at most one of each view; takes them out of ``left``."""
    group, views = [seed], {found.view[seed]}
    left.remove(seed)
    reached = 0
    while reached < len(group):
        for _, other in _nearest(group[reached], links, found):
            if other in left and found.view[other] not in views and found.speaks_for(other, seed):
                group.append(other)
                views.add(found.view[other])
                left.remove(other)
        reached += 1
    return group

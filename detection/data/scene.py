"""What a training view shows: pixels and the boxes in them, and what a further view leaves of both.

Boxes are objects and proposals of another method alike: both pass through the same views. Legend: N boxes, G of them
objects, P proposals, C classes, H/W size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from detection.data.records import ImageRecord
from detection.preprocess import PAD_COLOUR, Image
from detection.structures import Target
from proposals.structures import Proposals

MIN_VISIBLE = 0.3
"""An object of which less than this share is left in a view is ignored: neither trained on nor background."""

OBJECT = -1
"""Rank of a box that is an object."""


class View(NamedTuple):
    """A random view of an image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes: (N', 4) float32 xyxy, the boxes that are at least partly in the view, clipped to it.
        rows: (N',) int64 rows of these boxes among those that were given.
        visible: (N',) float32 share of each box that lies in the view.
    """

    image: Image
    boxes: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    visible: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """An image and everything in it, in any order.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float32 xyxy, pixels of the image.
        labels: (N,) int64 in [0, C); 0 for proposals, which have none.
        ignore: (N,) bool: crowd or difficult, or the place of an image that could not be read.
        rank: (N,) int64: ``OBJECT`` for objects; 0, 1, ... for the proposals of an image, best first.
        visible: (N,) float32 share of each box that is left.
    """

    image: Image
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.bool_]
    rank: npt.NDArray[np.int64]
    visible: npt.NDArray[np.float32]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def learnable(self) -> npt.NDArray[np.bool_]:
        """(N,) which boxes are objects to learn: not ignored, and enough of them left."""
        return (self.rank == OBJECT) & ~self.ignore & (self.visible >= MIN_VISIBLE)

    def shown_in(self, view: View) -> Scene:
        """The scene as a view of it shows it; a box cut twice has the product of both shares left."""
        rows = view.rows
        visible = self.visible[rows] * view.visible
        return Scene(view.image, view.boxes, self.labels[rows], self.ignore[rows], self.rank[rows], visible)

    def target(self) -> Target:
        """The objects; those with too little left are ignored."""
        objects = self.rank == OBJECT
        ignore = self.ignore | (self.visible < MIN_VISIBLE)
        return Target(
            torch.from_numpy(self.boxes[objects]),
            torch.from_numpy(self.labels[objects]),
            torch.from_numpy(ignore[objects]),
            self.size_hw,
        )

    def proposals(self) -> Proposals:
        """The proposals of which enough is left, with scores that keep their order; equal ranks as they stand."""
        rows = np.flatnonzero((self.rank != OBJECT) & (self.visible >= MIN_VISIBLE))
        boxes = self.boxes[rows[np.argsort(self.rank[rows], kind="stable")]]
        scores = torch.linspace(1.0, 0.0, len(boxes) + 1)[:-1]
        return Proposals(torch.from_numpy(boxes), scores, self.size_hw)


def join_scenes(image: Image, parts: Sequence[Scene]) -> Scene:
    """One scene of an image and the boxes of its parts, which are in its pixels already."""
    return Scene(
        image,
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.ignore for part in parts]),
        np.concatenate([part.rank for part in parts]),
        np.concatenate([part.visible for part in parts]),
    )


def make_scene(image: Image, record: ImageRecord, given: npt.NDArray[np.float32] | None) -> Scene:
    """What a data set and another method tell about an image.

    Args:
        image: (H, W, 3) uint8 RGB, the record's image at any size.
        record: Its objects.
        given: (P, 4) xyxy proposals, best first, in pixels of the original; None without another method.
    """
    height, width = (new / old for new, old in zip(image.shape[:2], record.size_hw, strict=True))
    scale = np.array([width, height, width, height], dtype=np.float32)
    proposals = np.zeros((0, 4), dtype=np.float32) if given is None else given
    num_objects, num_proposals = len(record.boxes), len(proposals)
    return Scene(
        image,
        np.concatenate([record.boxes, proposals]) * scale,
        np.concatenate([record.labels, np.zeros(num_proposals, dtype=np.int64)]),
        np.concatenate([record.ignore, np.zeros(num_proposals, dtype=np.bool_)]),
        np.concatenate([np.full(num_objects, OBJECT), np.arange(num_proposals)]),
        np.ones(num_objects + num_proposals, dtype=np.float32),
    )


def blank_scene(size_hw: tuple[int, int]) -> Scene:
    """An image of the padding's colour, ignored as a whole: nothing is learnt from it."""
    height, width = size_hw
    return Scene(
        np.full((height, width, 3), PAD_COLOUR, dtype=np.uint8),
        np.array([[0, 0, width, height]], dtype=np.float32),
        np.zeros(1, dtype=np.int64),
        np.ones(1, dtype=np.bool_),
        np.full(1, OBJECT),
        np.ones(1, dtype=np.float32),
    )


def cut(boxes: npt.NDArray[np.float32], window: tuple[int, int, int, int], image: Image) -> View:
    """What a window leaves of boxes.

    Args:
        boxes: (N, 4) xyxy with areas above 0.
        window: The xyxy window, in the pixels of the boxes.
        image: The picture that the view shows.

    Returns:
        The boxes that are partly inside, clipped, still in the pixels of the boxes that were given.
    """
    left, top, right, bottom = window
    clipped = boxes.clip([left, top, left, top], [right, bottom, right, bottom]).astype(np.float32)
    rows = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(axis=1))
    visible = box_areas(clipped[rows]) / box_areas(boxes[rows])
    return View(image, clipped[rows], rows, visible)


def box_areas(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(N, 4) -> (N,) square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

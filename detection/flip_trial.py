"""Whether objects may be learnt from upside down: whether what they are is told as surely that way.

Cells, parts and roofs are what they are any way up, and flipping them doubles what there is to learn from; people, cars
and digits are not. Whether a picture has been flipped is no guide, as shading gives it away even in cells. So a linear
classifier learns from upright objects, by features of the start weights, to tell them from each other and from
background, and is then asked about objects of other images, upright and upside down (docs/decisions.md, 62).
Legend: N crops, F features, C classes, H/W size of an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from backbone.googlenet import GoogLeNet
from backbone.normalization import ColourNormalization
from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.errors import InputError
from detection.preprocess import Image, resize
from proposals.box_ops import coverage

AS_SURE = 0.9
"""Share of the certainty that must be left upside down."""

MOST_IMAGES = 200
MOST_OBJECTS = 600
MOST_PIXELS = 400_000_000
"""Of all images together: where they are large, fewer are read."""

FEWEST_OBJECTS = 30
FEWEST_IMAGES = 10
"""Of fewer, nothing can be said."""

_SIDE = 64  # of a crop, the size of the pictures that the shipped weights learnt from
_CONTEXT = 1.25
_STAGE = "inception5a"
_FOLDS = 5
_RIDGE = 0.1


class ObjectCrops(NamedTuple):
    """Objects and as much background, cut out of images.

    Attributes:
        pixels: (N, S, S, 3) uint8 RGB.
        labels: (N,) int64 in [0, C]; C is background.
        images: (N,) int64, the row of the image.
        num_classes: C.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    num_classes: int

    @property
    def num_objects(self) -> int:
        """How many are not background."""
        return int((self.labels < self.num_classes).sum())

    @property
    def say_something(self) -> bool:
        """Whether there are enough objects, of enough images."""
        return self.num_objects >= FEWEST_OBJECTS and len(np.unique(self.images)) >= FEWEST_IMAGES


class FlipTrial(NamedTuple):
    """How surely objects are told upside down.

    Attributes:
        num_objects: How many were asked about.
        share: Mean margin of the right answer upside down, in units of the one upright; None where they are not told
            apart even upright.
        spared: By how many standard errors, over images, the margins upside down exceed ``AS_SURE`` of those upright.
    """

    num_objects: int
    share: float | None
    spared: float

    @property
    def is_passed(self) -> bool:
        """Whether objects bear the flip, by two standard errors."""
        return self.share is not None and self.spared > 2


def try_upside_down(backbone: GoogLeNet, crops: ObjectCrops) -> FlipTrial:
    """How surely objects are told upside down; the same for the same crops.

    Args:
        backbone: With its start weights, in evaluation mode, on the CPU.
        crops: That say something.
    """
    upright, flipped = (describe(backbone, pixels) for pixels in (crops.pixels, crops.pixels[:, ::-1]))
    targets = one_hot(torch.from_numpy(crops.labels), crops.num_classes + 1).float()
    margins = held_out_margins(upright, flipped, targets, crops.images)
    objects = crops.labels < crops.num_classes
    of_upright, of_flipped = (each.double().numpy()[objects] for each in margins)
    return judge_margins(of_upright, of_flipped, crops.labels[objects], crops.images[objects])


def cut_objects(
    records: Sequence[ImageRecord], num_classes: int, heard: Callable[[], None] = lambda: None
) -> ObjectCrops:
    """Cuts out objects that are not ignored, and beside each a piece of background of its size, if there is one.

    Args:
        records: What there is to learn from; images that cannot be read are passed over.
        num_classes: C.
        heard: Called after each image, of up to ``MOST_IMAGES``, for progress.

    Returns:
        Of some ``MOST_OBJECTS`` objects, from as many images as there may be; the same for the same images.
    """
    chance = np.random.default_rng(0)
    rows = _choose_images(records, chance)
    pixels: list[Image] = []
    labels: list[int] = []
    images: list[int] = []
    for row in rows:
        record = records[row]
        objects = chance.permutation(np.flatnonzero(~record.ignore))[: -(-MOST_OBJECTS // len(rows))]
        image = _read_or_none(record)
        heard()
        if image is None:
            continue
        for index in objects:
            box = record.boxes[index]
            elsewhere = _background_like(box, record, chance)
            for piece, label in ((box, int(record.labels[index])), (elsewhere, num_classes)):
                if piece is not None:
                    pixels.append(_cut_square(image, piece))
                    labels.append(label)
                    images.append(row)
    empty = np.zeros((0, _SIDE, _SIDE, 3), dtype=np.uint8)
    return ObjectCrops(
        np.stack(pixels) if pixels else empty, np.array(labels, np.int64), np.array(images, np.int64), num_classes
    )


def _choose_images(records: Sequence[ImageRecord], chance: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rows of images with objects, in any order, the first always; of large images fewer."""
    rows = chance.permutation([row for row, record in enumerate(records) if not record.ignore.all()])[:MOST_IMAGES]
    pixels = np.cumsum([math.prod(records[row].size_hw) for row in rows])
    return rows[: max(1, int((pixels <= MOST_PIXELS).sum()))].astype(np.int64)


def _read_or_none(record: ImageRecord) -> Image | None:
    try:
        return read_image(record.path)
    except InputError:  # the training will tell of it
        return None


def _background_like(
    box: npt.NDArray[np.float32], record: ImageRecord, chance: np.random.Generator
) -> npt.NDArray[np.float32] | None:
    """A box of the same size of which objects cover little; None where they cover much of ten random places."""
    height, width = record.size_hw
    size = box[2:] - box[:2]
    for _ in range(10):
        corner = chance.uniform(0, np.maximum([width, height] - size, 1))
        place = np.concatenate([corner, corner + size]).astype(np.float32)
        if coverage(torch.from_numpy(place[None]), torch.from_numpy(record.boxes)).sum() < 0.3:
            return place
    return None


def _cut_square(image: Image, box: npt.NDArray[np.float32]) -> Image:
    """A square about the box with some surroundings, as far as the image goes, scaled to a crop."""
    half = max(box[2] - box[0], box[3] - box[1]) * _CONTEXT / 2
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    height, width = image.shape[:2]
    left, right = np.clip([math.floor(x - half), math.ceil(x + half)], 0, width)
    top, bottom = np.clip([math.floor(y - half), math.ceil(y + half)], 0, height)
    left, top = min(left, width - 1), min(top, height - 1)
    return resize(image[top : max(bottom, top + 1), left : max(right, left + 1)], (_SIDE, _SIDE))


@torch.inference_mode()
def describe(backbone: GoogLeNet, pixels: npt.NDArray[np.uint8]) -> Tensor:
    """(N, S, S, 3) uint8 RGB -> what a late stage says of each crop, averaged over its places, (N, F) float32."""
    normalize = ColourNormalization()
    described = []
    for start in range(0, len(pixels), 64):
        batch = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 64])).permute(0, 3, 1, 2)
        described.append(backbone.features(normalize(batch, torch.float32))[_STAGE].mean(dim=(2, 3)))
    return torch.cat(described)


def held_out_margins(
    upright: Tensor, flipped: Tensor, targets: Tensor, images: npt.NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """By how much the right answer leads, upright and upside down, by classifiers that have not seen the image.

    Args:
        upright: (N, F).
        flipped: (N, F) of the same crops.
        targets: (N, C + 1), 1 for the right answer.
        images: (N,) the image of each; images are dealt out to five folds.

    Returns:
        (N,) and (N,): the score of the right answer less the highest other.
    """
    fold = torch.from_numpy(np.unique(images, return_inverse=True)[1] % _FOLDS)
    scores = upright.new_zeros(2, *targets.shape)
    for held_out in range(_FOLDS):
        inside, outside = fold != held_out, fold == held_out
        mean = upright[inside].mean(dim=0)
        spread = upright[inside].std(dim=0, correction=0).clamp(min=1e-4)
        known = (upright[inside] - mean) / spread
        # Ridge regression in its dual form. How frequent a class is is left out: a flip cannot change it.
        products = known @ known.T / known.shape[1] + _RIDGE * torch.eye(len(known), dtype=known.dtype)
        wanted = targets[inside] - targets[inside].mean(dim=0)
        weights = known.T @ torch.linalg.solve(products, wanted) / known.shape[1]
        for row, features in enumerate((upright, flipped)):
            scores[row, outside] = (features[outside] - mean) / spread @ weights
    right = (scores * targets).sum(dim=-1)
    others = scores.masked_fill(targets.bool(), -math.inf).amax(dim=-1)
    upright_margins, flipped_margins = right - others
    return upright_margins, flipped_margins


def judge_margins(
    upright: npt.NDArray[np.float64],
    flipped: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    images: npt.NDArray[np.int64],
) -> FlipTrial:
    """The verdict on the margins of N objects.

    Every class that ``_FOLDS`` images or more have counts the same, none may be worse than half as sure, lest many that
    bear the flip hide a few that do not, and the objects of an image count as one witness.

    Args:
        upright: (N,).
        flipped: (N,).
        labels: (N,).
        images: (N,), two different ones at least.
    """
    num_objects = len(labels)
    spread = np.array([len(np.unique(images[labels == label])) for label in range(labels.max() + 1)])
    judged = spread[labels] >= _FOLDS
    if not judged.any():
        return FlipTrial(num_objects, None, -math.inf)
    upright, flipped, labels, images = upright[judged], flipped[judged], labels[judged], images[judged]
    counts = np.maximum(np.bincount(labels), 1)
    of_upright, of_flipped = (np.bincount(labels, each) / counts for each in (upright, flipped))  # means by class
    weight = 1 / counts[labels]
    weight /= weight.sum()
    certainty, left = float(weight @ upright), flipped - AS_SURE * upright
    if certainty <= 0:
        return FlipTrial(num_objects, None, -math.inf)
    share, mean = float(weight @ flipped) / certainty, float(weight @ left)
    if ((of_upright > 0) & (of_flipped < 0.5 * of_upright)).any():
        return FlipTrial(num_objects, share, -math.inf)
    _, image = np.unique(images, return_inverse=True)
    by_image = np.bincount(image, weights=weight * (left - mean))
    error = math.sqrt(float((by_image**2).sum()) * len(by_image) / (len(by_image) - 1))
    return FlipTrial(num_objects, share, mean / max(error, 1e-9))

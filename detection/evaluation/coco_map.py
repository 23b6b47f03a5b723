"""The COCO detection numbers: those of pycocotools, equal to 1e-9 (tests), in a fraction of its time.

Unlike pycocotools this takes any ids, also 0, no detections at all and any limit of detections; what does not exist is
None, not -1. Areas are those of the labels, in pixels of the original image.
Legend: T IoU thresholds, R recall points, K classes; G ground truths and D detections, of one class or of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from detection.data.records import DetectionData
from detection.evaluation.averages import mean_of_present
from detection.evaluation.class_boxes import Bools, Floats, Ints, SplitBoxes, box_areas, pack_split
from detection.evaluation.coco_matching import MAX_DETECTIONS, RECALL_POINTS, CocoMatcher, CocoMatches, rows_by_class
from detection.evaluation.size_bands import MAX_AREA, SizeBands
from detection.structures import Detections

ALL = "all"
"""Objects of any size, in addition to the bands."""

AREA_BANDS = SizeBands().areas
"""COCO's bands of object area in square pixels of the original image; both ends belong to a band, as in pycocotools."""


@dataclass(frozen=True)
class CocoSettings:
    """What may be chosen about the COCO numbers.

    Attributes:
        bands: Sizes of objects that are told apart.
        max_detections: Detections counted per image and class.
    """

    bands: SizeBands = field(default_factory=SizeBands)
    max_detections: int = MAX_DETECTIONS

    def __post_init__(self) -> None:
        if self.max_detections < 1:
            raise ValueError(f"max_detections is {self.max_detections}, expected 1 or more")

    @property
    def protocol(self) -> str:
        """How the numbers are computed, in words."""
        counted = f"{self.max_detections} detections per image and class"
        return f"COCO (as pycocotools), IoU .50:.05:.95, 101 recall points, {counted}"

    @property
    def limits(self) -> list[int]:
        """Numbers of detections for which recall is told: 1, 10 and the greatest."""
        return sorted({limit for limit in (1, 10) if limit < self.max_detections} | {self.max_detections})

    def summary(self) -> dict[str, SummaryNumber]:
        """The numbers by name; with the default settings the twelve of COCO in its order."""
        most = self.max_detections
        numbers = {
            "AP": SummaryNumber("precision", most),
            "AP50": SummaryNumber("precision", most, threshold=0),
            "AP75": SummaryNumber("precision", most, threshold=5),
        }
        numbers |= {f"AP{name[0]}": SummaryNumber("precision", most, area=name) for name in self.bands.names}
        numbers |= {f"AR{limit}": SummaryNumber("recall", limit) for limit in self.limits}
        numbers |= {f"AR{name[0]}": SummaryNumber("recall", most, area=name) for name in self.bands.names}
        return numbers


@dataclass(frozen=True)
class SummaryNumber:
    """Which entries of the classes' numbers are averaged into one.

    Attributes:
        of: ``precision`` (mean over the recall points) or ``recall``.
        max_detections: Detections per image and class.
        threshold: Place of the one IoU in ``IOU_THRESHOLDS``, or None for the mean over all.
        area: Band of object size.
    """

    of: Literal["precision", "recall"]
    max_detections: int
    threshold: int | None = None
    area: str = ALL


@dataclass(frozen=True)
class CocoMap:
    """The COCO numbers of one split; None where a number does not exist (nothing to be found).

    Attributes:
        summary: Name of ``CocoSettings.summary`` -> value in [0, 1].
        ap: K values, mean over IoU .50:.05:.95, per class.
        ap50: K values at IoU 0.5.
        ap_by_band: Band -> K values, mean over IoU .50:.05:.95, of its objects.
    """

    summary: Mapping[str, float | None]
    ap: tuple[float | None, ...]
    ap50: tuple[float | None, ...]
    ap_by_band: Mapping[str, tuple[float | None, ...]]


def coco_map(
    data: DetectionData, detections: Mapping[int, Detections], settings: CocoSettings | None = None
) -> CocoMap:
    """Computes the COCO numbers of a split.

    Ignored objects count as crowd: they need not be found, and any number of detections may fall on one.

    Args:
        data: The split.
        detections: Image id -> detections in original pixels. An image without an entry has none.
        settings: Bands of size and number of detections; None takes COCO's.

    Returns:
        The numbers; with objects but no detections at all, every AP is 0.
    """
    return coco_map_of(data, pack_split(data, detections), settings or CocoSettings())


def coco_map_of(data: DetectionData, split: SplitBoxes, settings: CocoSettings) -> CocoMap:
    """As ``coco_map``, of a split whose boxes are packed already."""
    matcher = CocoMatcher.of(split, max_detections=settings.max_detections)
    rows = rows_by_class(split, np.array([record.image_id for record in data.images], dtype=np.int64))
    numbers = {
        band: _class_numbers(split, matcher, outside, rows, settings.limits)
        for band, outside in _outside_bands(data, split, settings.bands)
    }
    summary = settings.summary()
    return CocoMap(
        summary={name: mean_of_present(_select(numbers, number)) for name, number in summary.items()},
        ap=tuple(_select(numbers, summary["AP"])),
        ap50=tuple(_select(numbers, summary["AP50"])),
        ap_by_band={name: tuple(_select(numbers, summary[f"AP{name[0]}"])) for name in settings.bands.names},
    )


@dataclass(frozen=True)
class _Outside:
    """Which objects (G,) and detections (D,) are not of the size that is asked for."""

    gt: Bools
    found: Bools


@dataclass(frozen=True)
class _ClassNumbers:
    """One class and band: (T,) mean precision over the recall points, and detections limit -> (T,) recall."""

    precision: Floats
    recall: Mapping[int, Floats]


def _outside_bands(data: DetectionData, split: SplitBoxes, bands: SizeBands) -> Iterator[tuple[str, _Outside]]:
    """What lies outside each band, ``all`` first."""
    image_areas = np.array([record.size_hw[0] * record.size_hw[1] for record in data.images], dtype=np.int64)
    areas = np.concatenate([np.zeros(0, np.float32), *(record.area for record in data.images)])
    gt_sizes = bands.measure(areas, image_areas[split.gt_image])
    sizes = bands.measure(box_areas(split.boxes), image_areas[split.image])
    for name, (low, high) in {ALL: (0.0, MAX_AREA), **bands.areas}.items():
        yield name, _Outside((gt_sizes < low) | (gt_sizes > high), (sizes < low) | (sizes > high))


def _class_numbers(
    split: SplitBoxes, matcher: CocoMatcher, outside: _Outside, rows_by_class: Sequence[Ints], limits: Sequence[int]
) -> list[_ClassNumbers | None]:
    """K numbers of one band; None for a class without anything to be found."""
    matches = matcher.match(outside.gt, outside.found)
    to_find = ~(split.gt_ignore | outside.gt)
    num_gt = np.bincount(split.gt_labels[to_find], minlength=split.num_classes).tolist()
    return [
        _numbers(matches, matcher.places, rows, num_gt=count, limits=limits) if count else None
        for rows, count in zip(rows_by_class, num_gt, strict=True)
    ]


def _numbers(matches: CocoMatches, places: Ints, rows: Ints, *, num_gt: int, limits: Sequence[int]) -> _ClassNumbers:
    """The numbers of a class whose detections, best first, are these rows."""
    correct, counted = matches.correct[:, rows], ~matches.ignored[:, rows]
    recall = {limit: (correct & (places[rows] < limit)).sum(axis=1) / num_gt for limit in limits}
    precision = [_mean_precision(*at_threshold, num_gt) for at_threshold in zip(correct, counted, strict=True)]
    return _ClassNumbers(np.array(precision), recall)


def _mean_precision(correct: Bools, counted: Bools, num_gt: int) -> float:
    """Precision at the recall points, each the best at that recall or beyond, 0 where the recall is never reached.

    Args:
        correct: (D,) right detections, best score first.
        counted: (D,) right or wrong ones: all but those left out.
        num_gt: Objects to be found, at least 1.
    """
    places = np.flatnonzero(correct)  # Between right detections precision only falls.
    if not len(places):
        return 0.0
    found = np.arange(1, len(places) + 1)
    precision = found / np.cumsum(counted)[places]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / num_gt, RECALL_POINTS, side="left")
    return float(envelope[reached[reached < len(places)]].sum()) / len(RECALL_POINTS)


def count_per_band(data: DetectionData, bands: SizeBands | None = None) -> dict[str, tuple[int, ...]]:
    """Counts the objects to be found: band -> K numbers; one exactly on a bound is in both, as in pycocotools."""
    split, num_classes = pack_split(data, {}), len(data.class_names)
    return {
        name: tuple(np.bincount(split.gt_labels[~(split.gt_ignore | outside.gt)], minlength=num_classes).tolist())
        for name, outside in _outside_bands(data, split, bands or SizeBands())
        if name != ALL
    }


def crowded_images(data: DetectionData, *, max_detections: int = MAX_DETECTIONS) -> dict[str, int]:
    """File name -> objects of its most frequent class, where these are more than detections are counted."""
    counts = {}
    for record in data.images:
        most = int(np.bincount(record.labels[~record.ignore], minlength=1).max())
        if most > max_detections:
            counts[record.file_name] = most
    return counts


def overfull_images(data: DetectionData, *, max_detections: int) -> dict[str, int]:
    """File name -> objects to be found, where these are more than an image can have detections."""
    counts = {record.file_name: int(np.sum(~record.ignore)) for record in data.images}
    return {file_name: count for file_name, count in counts.items() if count > max_detections}


def _select(numbers: Mapping[str, Sequence[_ClassNumbers | None]], number: SummaryNumber) -> list[float | None]:
    """One number for each class alone."""
    values: list[float | None] = []
    for each in numbers[number.area]:
        if each is None:
            values.append(None)
            continue
        at_thresholds = each.precision if number.of == "precision" else each.recall[number.max_detections]
        chosen = at_thresholds.mean() if number.threshold is None else at_thresholds[number.threshold]
        values.append(float(chosen))
    return values

"""A comparison as files: ``compare.json`` for programs and ``compare.html``, one offline page, for people.

Legend: G ground truths and D detections over all images and classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection.atomic import write_json
from detection.data.image import read_image
from detection.errors import InputError
from detection.evaluation.comparison import Change, Comparison, Side
from detection.evaluation.intervals import LEAST_IMAGES, METHOD, PAIRED_METHOD, Difference, Estimate
from detection.evaluation.page import jpeg_uri, scale_image, write_page, xywh
from detection.evaluation.texts import estimate_text, signed_text

VERDICTS = {
    "a": "A is better: the interval excludes 0",
    "b": "B is better: the interval excludes 0",
    "open": "cannot be told apart: the interval contains 0",
    "same": "no difference in any resample",
    "unknown": f"no interval: it takes objects in {LEAST_IMAGES} images",
}
"""What a verdict means, in words."""

MEASURE_NAMES = {"VOC07": "mAP VOC 2007", "VOC12": "mAP VOC 2012", "ILSVRC": "mAP ILSVRC"}

_MAX_LISTED = 100
_NUM_PICTURES = 6
_MAX_MARKS = 200
_PICTURE_SIDE, _PICTURE_ENLARGEMENT = 640, 4.0


@dataclass(frozen=True)
class Bar:
    """An interval of a difference, from -100 to 100 units: left end, width, and the difference itself."""

    low: float
    width: float
    at: float


@dataclass(frozen=True)
class Row:
    """One line of a table of numbers.

    Attributes:
        name: What is compared.
        difference: Both numbers and their difference.
        bar: The interval drawn, None if there is none.
    """

    name: str
    difference: Difference
    bar: Bar | None


@dataclass(frozen=True)
class Mark:
    """A box over a picture.

    Attributes:
        kind: ``found`` or ``missed`` object, ``right`` or ``wrong`` detection.
        box: Left, top, width and height in pixels of the original image.
        title: What a reader sees who asks.
    """

    kind: str
    box: tuple[float, float, float, float]
    title: str


@dataclass(frozen=True)
class ChangedPicture:
    """One of the images that changed most.

    Attributes:
        file_name: The image.
        change: How the results differ there.
        size_hw: Its height and width in pixels.
        marks: ``A`` and ``B`` -> boxes, in drawing order.
        pixels: JPEG as a data URI; empty if the image could not be read.
        note: Why it could not be read, else empty.
    """

    file_name: str
    change: Change
    size_hw: tuple[int, int]
    marks: Mapping[str, tuple[Mark, ...]]
    pixels: str = ""
    note: str = ""


def write_comparison(out: Path, comparison: Comparison, *, names: tuple[str, str]) -> None:
    """Writes ``compare.json`` and ``compare.html`` into a folder.

    The page needs no network and no other file. Every text of the user is escaped. Pictures are drawn of the images
    that changed most and can be read.

    Args:
        out: The folder; it is made if it is missing.
        comparison: What there is to say.
        names: What the user calls A and B.
    """
    write_json(out / "compare.json", {"reports": list(names), **comparison.to_document()})
    judged = comparison.a.judged
    contexts = [each.judged.context for each in (comparison.a, comparison.b)]
    keys = dict.fromkeys(key for context in contexts for key in context)
    first, *others = rows(comparison.measures)
    content = {
        "names": names,
        "context": {key: [context.get(key, "") for context in contexts] for key in keys},
        "num_images": judged.split.num_images,
        "num_gt": int(np.count_nonzero(~judged.split.gt_ignore)),
        "method": METHOD,
        "paired_method": PAIRED_METHOD,
        "num_resamples": comparison.num_resamples,
        "headline": first,
        "verdict": VERDICTS[first.difference.verdict],
        "verdicts": VERDICTS,
        "measures": [first, *others],
        "classes": rows({name: row["AP"] for name, row in comparison.per_class.items()}),
        "estimate_text": estimate_text,
        "signed_text": signed_text,
        "better_text": better_text,
        "total": comparison.total,
        "changes": [(judged.file_names[image], change) for image, change in comparison.changes.items()][:_MAX_LISTED],
        "num_changed": len(comparison.changes),
        "pictures": changed_pictures(comparison),
    }
    write_page(out / "compare.html", "compare_page.html.j2", content)


def better_text(difference: Difference) -> str:
    """In how many of the resamples each is better."""
    if difference.a_better is None or difference.b_better is None:
        return "n/a"
    return f"A {100 * difference.a_better:.1f} %, B {100 * difference.b_better:.1f} %"


def rows(numbers: Mapping[str, Difference]) -> list[Row]:
    """The lines of a table; the longest interval reaches to the end of the drawing."""
    intervals = [each.difference.interval for each in numbers.values()]
    bounds = [abs(bound) for interval in intervals if interval for bound in (interval.low, interval.high)]
    scale = max(bounds, default=0.0) or 1.0
    return [Row(MEASURE_NAMES.get(name, name), each, _bar(each.difference, scale)) for name, each in numbers.items()]


def changed_pictures(comparison: Comparison) -> list[ChangedPicture]:
    """The images that changed most, with what A and B say of each."""
    chosen = list(comparison.changes.items())[:_NUM_PICTURES]
    return [_picture(comparison, image, change) for image, change in chosen]


def _bar(estimate: Estimate, scale: float) -> Bar | None:
    if estimate.interval is None or estimate.value is None:
        return None
    low, high = (100 * bound / scale for bound in (estimate.interval.low, estimate.interval.high))
    return Bar(round(low, 1), round(high - low, 1), round(min(max(100 * estimate.value / scale, -100), 100), 1))


def _picture(comparison: Comparison, image: int, change: Change) -> ChangedPicture:
    """Reads one image; one that cannot be read becomes a note."""
    judged = comparison.a.judged
    height, width = judged.sizes_hw[image].tolist()
    file_name = judged.file_names[image]
    try:
        pixels = read_image(judged.root / judged.paths[image])
    except InputError as error:
        return ChangedPicture(file_name, change, (height, width), {}, note=str(error))
    if pixels.shape[:2] != (height, width):
        return ChangedPicture(file_name, change, (height, width), {}, note="it has another size than it had")
    scale = min(_PICTURE_SIDE / max(height, width), _PICTURE_ENLARGEMENT)
    marks = {name: _marks(side, image) for name, side in (("A", comparison.a), ("B", comparison.b))}
    return ChangedPicture(file_name, change, (height, width), marks, pixels=jpeg_uri(scale_image(pixels, scale)))


def _marks(side: Side, image: int) -> tuple[Mark, ...]:
    """Objects to be found and the kept detections of one image, the best on top."""
    split, found, false = side.judged.split, side.found(), side.false()
    marks = []
    for row in np.flatnonzero((split.gt_image == image) & ~split.gt_ignore)[:_MAX_MARKS].tolist():
        kind, name = ("found" if found[row] else "missed"), split.class_names[split.gt_labels[row]]
        marks.append(Mark(kind, xywh(split.gt_boxes[row]), f"{kind} label: {name}"))
    kept = split.scores >= side.judged.score_thresholds[split.labels]
    shown = np.flatnonzero((split.image == image) & kept & (false | side.outcomes.correct))[:_MAX_MARKS]
    for row in shown[::-1].tolist():
        kind, name = ("wrong" if false[row] else "right"), split.class_names[split.labels[row]]
        marks.append(Mark(kind, xywh(split.boxes[row]), f"{kind}: {name} {split.scores[row]:.3f}"))
    return tuple(marks)

"""Faults of boxes, found for a whole split at once: what can be mended is clipped, the rest is left out and named.

Legend: N objects of the split, I images of the split. Boxes are float64 xyxy pixels, half-open, until they are checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from detection.data.raw import BoxNotation, Float64Array, Int64Array, RawSplit
from detection.data.records import Finding

MAX_OVERHANG_PX = 1.0  # Clipped without a word: off-by-one and rounding of labelling tools.
MIN_SIDE_PX = 1.0 - 1e-3  # The 1e-3 allows for coordinates rounded to six decimals.
MISREAD_SHARE = 0.2
UNANIMOUS_MISREAD_SHARE = 0.05  # Enough where every one of many boxes fits if read otherwise.
CLEAR_OVERHANG_SHARE = 0.1  # Of the image's side; large objects are often drawn a few pixels beyond the border.
_MANY_BOXES = 20

DEGENERATE = "degenerate-box"
OUTSIDE = "outside-box"
CLIPPED = "clipped-box"
TINY = "tiny-box"  # Kept, so that figures on official labels, which have some, equal everyone else's.
_NO_FAULT = ""
_LEFT_OUT = "correct or delete it; left out"
_FAULTS = {
    "non-finite-box": ("which is not finite", _LEFT_OUT),
    DEGENERATE: ("which has no width or height", _LEFT_OUT),
    OUTSIDE: ("which lies outside the image", _LEFT_OUT),
    TINY: ("which covers less than 1 pixel inside the image", "correct or delete it; kept, clipped to the image"),
    CLIPPED: ("which reaches out of the image", "correct it; clipped to the image"),
}


@dataclass(frozen=True)
class PackedObjects:
    """The objects of a split in packed columns.

    Attributes:
        row: (N,) int64 row in `RawSplit.objects`.
        image_index: (N,) int64 row of its image in the split.
        values: (N, 4) float64 box as written.
        boxes: (N, 4) float64 xyxy pixels.
        labels: (N,) int64 in [0, C).
        ignore: (N,) bool.
        area: (N,) float64 square pixels, NaN where the file tells none.
        sizes_hw: (N, 2) int64 height and width of each object's image.
    """

    row: Int64Array
    image_index: Int64Array
    values: Float64Array
    boxes: Float64Array
    labels: Int64Array
    ignore: npt.NDArray[np.bool_]
    area: Float64Array
    sizes_hw: Int64Array

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.boxes)

    def select(self, rows: npt.NDArray[np.bool_] | Int64Array) -> PackedObjects:
        """Keeps the rows of a mask or an index."""
        return PackedObjects(**{name: column[rows] for name, column in vars(self).items()})


def check_boxes(objects: PackedObjects, raw: RawSplit) -> tuple[PackedObjects, list[Finding]]:
    """Clips the boxes to their images and leaves out those that cannot be used.

    Args:
        objects: N objects.
        raw: The split that they come from, for the messages.

    Returns:
        The objects that are kept, in their order, with boxes inside their images and no exact repeats; and the
        findings. N = 0 gives none of either.
    """
    faults = classify_boxes(objects.boxes, objects.sizes_hw)
    findings = [*guess_misread(objects, raw), *_zero_number(raw)]
    findings += [_box_finding(objects, raw, index, str(faults[index])) for index in _rows(faults != _NO_FAULT)]
    usable = objects.select(np.isin(faults, (_NO_FAULT, CLIPPED, TINY)))
    usable = replace(usable, boxes=clip_boxes(usable.boxes, usable.sizes_hw))
    first = first_of_equals(usable)
    is_repeat = first != np.arange(len(usable))
    findings += [_repeat_finding(usable, raw, index, int(first[index])) for index in _rows(is_repeat)]
    return usable.select(~is_repeat), findings


def classify_boxes(boxes: Float64Array, sizes_hw: Int64Array) -> npt.NDArray[np.str_]:
    """Tells what is wrong with each box.

    Args:
        boxes: (N, 4) xyxy pixels, anything goes.
        sizes_hw: (N, 2) height and width of each box's image.

    Returns:
        (N,) kind of the worst fault, the empty string for none. A box that reaches at most `MAX_OVERHANG_PX` out of
        the image has none.
    """
    clipped = clip_boxes(boxes, sizes_hw)
    with np.errstate(invalid="ignore", over="ignore"):
        sides, sides_inside = _sides(boxes), _sides(clipped)
        conditions = [
            ~np.isfinite(boxes).all(axis=1),
            (sides <= 0).any(axis=1),
            (sides_inside <= 0).any(axis=1),
            (sides_inside < MIN_SIDE_PX).any(axis=1),
            np.abs(boxes - clipped).max(axis=1) > MAX_OVERHANG_PX,
        ]
    return np.select(conditions, list(_FAULTS), default=_NO_FAULT)


def _sides(boxes: Float64Array) -> npt.NDArray[np.float32]:
    """(N, 2) width and height as a record will hold them: in its float32 many slivers come to 0."""
    rounded = boxes.astype(np.float32)
    return rounded[:, 2:] - rounded[:, :2]


def clip_boxes(boxes: Float64Array, sizes_hw: Int64Array) -> Float64Array:
    """Clips (N, 4) xyxy boxes to images of (N, 2) height and width; NaN stays."""
    return np.clip(boxes, 0, np.tile(sizes_hw[:, ::-1], 2))


def first_of_equals(objects: PackedObjects) -> Int64Array:
    """Finds exact repeats: same image, label, box and ignore mark.

    Args:
        objects: N objects.

    Returns:
        (N,) index of the first object equal to this one: its own where it repeats none.
    """
    columns = (objects.image_index, objects.labels, objects.ignore, *objects.boxes.T)
    order = np.lexsort(columns)  # Stable: of equal rows the first in the file comes first.
    key = np.stack(columns, axis=1)[order]
    starts = np.ones(len(objects), dtype=np.bool_)
    starts[1:] = (key[1:] != key[:-1]).any(axis=1)
    first = np.empty(len(objects), dtype=np.int64)
    first[order] = order[np.maximum.accumulate(np.where(starts, np.arange(len(objects)), 0))]
    return first


def guess_misread(objects: PackedObjects, raw: RawSplit) -> list[Finding]:
    """Suspects a mistaken notation: many boxes are far off as they are read but fit if read otherwise.

    Far off means degenerate, outside or leaving the image by `CLEAR_OVERHANG_SHARE`: the sizes of large objects also
    fit as corners, and labels of such objects often leave their image a little. Many means a share of
    `MISREAD_SHARE`; where every single box of 20 or more fits if read otherwise, `UNANIMOUS_MISREAD_SHARE`.

    Args:
        objects: N objects.
        raw: The split that they come from.

    Returns:
        One finding, or none. Nothing is reinterpreted.
    """
    other = raw.notation.mistaken_for
    if other is None or len(objects) == 0:
        return []
    faults = classify_boxes(objects.boxes, objects.sizes_hw)
    fitting = classify_boxes(other.to_xyxy(objects.values, objects.sizes_hw), objects.sizes_hw) == _NO_FAULT
    suspects = np.flatnonzero(fitting & _is_far_off(objects, faults))
    many = UNANIMOUS_MISREAD_SHARE if fitting.all() and len(objects) >= _MANY_BOXES else MISREAD_SHARE
    if len(suspects) <= many * len(objects):
        return []
    example = raw.objects[objects.row[suspects[0]]]
    read, meant = _columns(raw.notation), _columns(other)
    return [
        Finding(
            kind="misread-boxes",
            file=raw.images[example.image_index].label_file,
            message=f"{len(suspects)} of {len(objects)} boxes leave their image as {read} but fit as {meant}, "
            f"the first: {raw.locate(example)} with {list(example.values)}; of all boxes {fitting.sum()} fit so",
            remedy=f"write boxes as {read}; they were read as such",
        )
    ]


def _is_far_off(objects: PackedObjects, faults: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """(N,) whether a box is degenerate, lies outside its image or leaves it by `CLEAR_OVERHANG_SHARE` of a side."""
    overhang = np.abs(objects.boxes - clip_boxes(objects.boxes, objects.sizes_hw))
    clearly_out = (overhang > CLEAR_OVERHANG_SHARE * np.tile(objects.sizes_hw[:, ::-1], 2)).any(axis=1)
    return np.isin(faults, (DEGENERATE, OUTSIDE)) | clearly_out


def _zero_number(raw: RawSplit) -> list[Finding]:
    """One finding if an annotation has the id 0: pycocotools takes a match with it for no match."""
    first = next((row for row in raw.objects if row.number == 0), None)
    if first is None:
        return []
    message = f"{raw.locate(first)} has the id 0, which pycocotools counts as not found"
    file = raw.images[first.image_index].label_file
    return [Finding("zero-id", file, message, "number annotations from 1; of no effect here")]


def _rows(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Indices where the mask is set."""
    return np.flatnonzero(mask).tolist()


def _columns(notation: BoxNotation) -> str:
    return f"[{', '.join(notation.columns)}]"


def _box_finding(objects: PackedObjects, raw: RawSplit, index: int, kind: str) -> Finding:
    row = raw.objects[objects.row[index]]
    height, width = objects.sizes_hw[index]
    fault, remedy = _FAULTS[kind]
    return Finding(
        kind=kind,
        file=raw.images[row.image_index].label_file,
        message=f"{raw.locate(row)} has {raw.notation.describe(row.values)}, {fault} (width {width}, height {height})",
        remedy=remedy,
    )


def _repeat_finding(objects: PackedObjects, raw: RawSplit, index: int, first: int) -> Finding:
    row, first_row = raw.objects[objects.row[index]], raw.objects[objects.row[first]]
    return Finding(
        kind="duplicate-box",
        file=raw.images[row.image_index].label_file,
        message=f"{raw.locate(row)} repeats {raw.notation.noun} {first_row.number}: "
        f"same class and box {raw.notation.describe(row.values)}",
        remedy="delete one of them; left out",
    )

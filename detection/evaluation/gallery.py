"""Pictures of the report: whole images and cuts of the worst errors, with boxes that a threshold shows and hides.

The pixels are JPEGs inside the page, the boxes are drawn over them by the page itself, so that they can move.
Legend: G ground truths and D detections over all images and classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from detection.data.image import read_image
from detection.data.records import DetectionData, ImageRecord
from detection.errors import InputError
from detection.evaluation.class_boxes import Bools, Floats, Ints
from detection.evaluation.error_types import CLASSIFICATION, ERROR_KINDS
from detection.evaluation.explanation import Explanation
from detection.evaluation.image_errors import ImageErrors, rank_image_errors
from detection.evaluation.page import jpeg_uri, scale_image, xywh
from detection.evaluation.stage_blame import BLAMES
from detection.preprocess import Image

_NUM_PICTURES = 6
_NUM_CUTS = 12
_MAX_BOXES = 120
"""Labels, and as many detections again, that are drawn on a picture beside its subject."""

_PICTURE_SIDE, _PICTURE_ENLARGEMENT = 640, 4.0
_CUT_SIDE, _CUT_ENLARGEMENT = 220, 8.0
_MIN_WINDOW = 32.0


@dataclass(frozen=True)
class Mark:
    """A box over a picture, in pixels of the original image.

    Attributes:
        kind: Of objects ``truth``, or ``unasked`` if it need not be found; of detections ``right``, ``wrong``, or
            ``ignored`` on such an object.
        box: Left, top, width and height.
        label: Class of the box.
        score: A detection's own; for an object, that of the detection that finds it, -1 if none does.
        title: Shown to a reader who asks.
        is_subject: Whether the picture is about it.
    """

    kind: str
    box: tuple[float, float, float, float]
    label: int
    score: float
    title: str
    is_subject: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture and the boxes on it.

    Attributes:
        image: Index of the image in the split.
        file_name: The image.
        view: The part that is shown: left, top, width and height in pixels of the original image.
        marks: The boxes, in drawing order.
        num_left_out: Boxes that lie there too, but are not drawn because they are too many.
        pixels: JPEG as a data URI; empty if the image could not be read.
        note: Why it could not be read, else empty.
    """

    image: int
    file_name: str
    view: tuple[int, int, int, int]
    marks: tuple[Mark, ...]
    num_left_out: int
    pixels: str = ""
    note: str = ""


@dataclass(frozen=True)
class ImagePicture:
    """One of the images with most errors."""

    picture: Picture
    errors: ImageErrors


@dataclass(frozen=True)
class ErrorCut:
    """One error, cut out of its image.

    Attributes:
        picture: The cut.
        heading: Class, and score of a detection.
        reason: Kind of error, or the stage that lost the object.
        mark: The box that it is about.
    """

    picture: Picture
    heading: str
    reason: str
    mark: Mark


class Gallery:
    """Draws pictures of one split.

    Args:
        data: The split.
        explanation: Its boxes and what became of them.
    """

    def __init__(self, data: DetectionData, explanation: Explanation) -> None:
        self.data = data
        self.explanation = explanation
        self.split = explanation.split
        self._is_missed = explanation.outcomes.missed(self.split, explanation.score_thresholds)

    def worst_images(self) -> list[ImagePicture]:
        """The images with most errors, worst first."""
        thresholds = self.explanation.score_thresholds
        ranked = rank_image_errors(self.split, self.explanation.outcomes, thresholds)[:_NUM_PICTURES]
        return [ImagePicture(self._whole(errors.image), errors) for errors in ranked]

    def worst_false(self) -> list[ErrorCut]:
        """The false detections of the highest scores, of every kind some."""
        is_false = self.explanation.outcomes.false(self.split, self.explanation.score_thresholds)
        rows = np.flatnonzero(is_false & (self.explanation.errors.kinds >= 0))
        chosen = choose_varied(self.explanation.errors.kinds[rows], self.split.scores[rows], limit=_NUM_CUTS)
        return [self._false_cut(int(row)) for row in rows[chosen]]

    def worst_missed(self) -> list[ErrorCut]:
        """The missed objects that fill most of their image, of every stage some."""
        rows = np.flatnonzero(self._is_missed)
        blame = self.explanation.blame
        groups = self.split.gt_labels[rows] if blame is None else blame.kinds[rows]
        sides = self.split.gt_boxes[rows, 2:] - self.split.gt_boxes[rows, :2]
        areas = np.array([np.prod(self.data.images[image].size_hw) for image in self.split.gt_image[rows].tolist()])
        shares = sides[:, 0] * sides[:, 1] / np.maximum(areas, 1) if len(rows) else np.zeros(0)
        return [self._missed_cut(int(row)) for row in rows[choose_varied(groups, shares, limit=_NUM_CUTS)]]

    def _false_cut(self, row: int) -> ErrorCut:
        split, errors = self.split, self.explanation.errors
        kind = int(errors.kinds[row])
        name, reason = list(ERROR_KINDS.items())[kind]
        if kind == CLASSIFICATION:
            reason = f"it is {self._name(split.gt_labels[errors.targets[row]])}"
        picture, mark = self._cut(int(split.image[row]), split.boxes[row], detection=row)
        heading = f"{self._name(split.labels[row])} {split.scores[row]:.3f}"
        return ErrorCut(picture, heading, f"{name}: {reason}", mark)

    def _missed_cut(self, row: int) -> ErrorCut:
        split, blame = self.split, self.explanation.blame
        picture, mark = self._cut(int(split.gt_image[row]), split.gt_boxes[row], truth=row)
        reason = "" if blame is None else list(BLAMES.values())[int(blame.kinds[row])]
        if not reason:
            reason = "no detection of any score" if mark.score < 0 else "a detection below the threshold"
        if mark.score >= 0:
            reason += f" (score {mark.score:.3f})"
        return ErrorCut(picture, self._name(split.gt_labels[row]), reason, mark)

    def _whole(self, image: int) -> Picture:
        record = self.data.images[image]
        height, width = record.size_hw
        picture = self._marked(image, (0, 0, width, height))
        return _with_pixels(picture, record, min(_PICTURE_SIDE / max(record.size_hw), _PICTURE_ENLARGEMENT))

    def _cut(
        self, image: int, box: Floats, *, detection: int | None = None, truth: int | None = None
    ) -> tuple[Picture, Mark]:
        """A window around a box with the boxes in it, and the mark of the box itself, which is drawn last."""
        record = self.data.images[image]
        view = _window(box, record.size_hw)
        picture = self._marked(image, view, detection=detection, truth=truth)
        subject = next(mark for mark in picture.marks if mark.is_subject)
        return _with_pixels(picture, record, min(_CUT_SIDE / max(view[2:]), _CUT_ENLARGEMENT)), subject

    def _marked(
        self,
        image: int,
        view: tuple[int, int, int, int],
        *,
        detection: int | None = None,
        truth: int | None = None,
    ) -> Picture:
        """A part of an image, without pixels, and the boxes that touch it, the subject last.

        Of many detections the best are drawn, of many objects the missed ones first.
        """
        split = self.split
        gt_rows = _with(np.flatnonzero((split.gt_image == image) & _touches(split.gt_boxes, view)), truth)
        missed_first = gt_rows[np.argsort(~self._is_missed[gt_rows], kind="stable")]
        rows = _with(np.flatnonzero((split.image == image) & _touches(split.boxes, view)), detection)
        drawn_gt_rows = np.sort(_with(missed_first[:_MAX_BOXES], truth))
        drawn_rows = _with(rows[:_MAX_BOXES], detection)[::-1]  # the best on top
        marks = [self._truth_mark(row, is_subject=row == truth) for row in drawn_gt_rows.tolist()]
        marks += [self._detection_mark(row, is_subject=row == detection) for row in drawn_rows.tolist()]
        num_left_out = len(gt_rows) + len(rows) - len(marks)
        by_subject = tuple(sorted(marks, key=lambda mark: mark.is_subject))
        return Picture(image, self.data.images[image].file_name, view, by_subject, num_left_out)

    def _truth_mark(self, row: int, *, is_subject: bool) -> Mark:
        split, found = self.split, float(self.explanation.outcomes.found_score[row])
        kind = "unasked" if split.gt_ignore[row] else "truth"
        score = found if np.isfinite(found) else -1.0
        label = int(split.gt_labels[row])
        return Mark(kind, xywh(split.gt_boxes[row]), label, score, f"label: {self._name(label)}", is_subject)

    def _detection_mark(self, row: int, *, is_subject: bool) -> Mark:
        split, outcomes = self.split, self.explanation.outcomes
        kind = "right" if outcomes.correct[row] else "wrong" if outcomes.wrong[row] else "ignored"
        label, score = int(split.labels[row]), float(split.scores[row])
        return Mark(kind, xywh(split.boxes[row]), label, score, f"{self._name(label)} {score:.3f}", is_subject)

    def _name(self, label: int | np.int64) -> str:
        return self.split.class_names[int(label)]


def choose_varied(groups: Ints, badness: Floats, *, limit: int) -> Ints:
    """Chooses the worst of every group in turn: the worst of each first, worst of all at the front.

    Args:
        groups: (N,) group of each item.
        badness: (N,) greater is worse.
        limit: Items chosen at most.

    Returns:
        Indices of the chosen items.
    """
    order = np.lexsort((-badness, groups))
    starts = np.searchsorted(groups[order], groups[order], side="left")
    place = np.arange(len(order)) - starts
    return order[np.lexsort((-badness[order], place))][:limit]


def _with(rows: Ints, wanted: int | None) -> Ints:
    """The rows, with the wanted one if it is not among them."""
    return rows if wanted is None or wanted in rows else np.append(rows, wanted)


def _touches(boxes: Floats, view: tuple[int, int, int, int]) -> Bools:
    """(N, 4) xyxy -> (N,) whether a box reaches into the view."""
    left, top, width, height = view
    inside = (boxes[:, 0] < left + width) & (boxes[:, 2] > left) & (boxes[:, 1] < top + height) & (boxes[:, 3] > top)
    return np.asarray(inside, np.bool_)


def _window(box: Floats, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square around a box, twice as large, moved into the image and cut to it: left, top, width, height."""
    limits = np.array([size_hw[1], size_hw[0]])
    centre, side = (box[:2] + box[2:]) / 2, max(2 * float(np.max(box[2:] - box[:2])), _MIN_WINDOW)
    sides = np.minimum(np.ceil(side), limits)
    low = np.clip(np.round(centre - sides / 2), 0, limits - sides)
    left, top, width, height = (int(value) for value in (*low, *sides))
    return left, top, width, height


def _with_pixels(picture: Picture, record: ImageRecord, scale: float) -> Picture:
    """Cuts out and scales the pixels; an image that cannot be read becomes a note."""
    try:
        pixels = read_image(record.path)
    except InputError as error:
        return replace(picture, note=str(error))
    left, top, width, height = picture.view
    cut: Image = pixels[top : top + height, left : left + width]
    if cut.size == 0:
        return replace(picture, note="it has another size than its label file says")
    return replace(picture, pixels=jpeg_uri(scale_image(cut, scale)))

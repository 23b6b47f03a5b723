"""What the page about proposals shows, worked out from the numbers: curves and pictures of missed objects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from detection.data.image import read_image
from detection.errors import InputError
from detection.evaluation.class_boxes import Floats
from detection.evaluation.page import jpeg_uri, scale_image
from detection.evaluation.proposal_curves import COUNTS, IOU_THRESHOLDS
from detection.evaluation.proposal_summary import ImageCover, ProposalEvaluation, missed_objects
from detection.preprocess import Image
from detection.structures import Detections, Target
from detection.visualize import draw_detections, draw_targets

MAX_MISSED = 24
"""Missed objects shown; of more, evenly spread ones."""

_CURVE_IOUS = (0.5, 0.7)
_CURVE_COUNTS = (50, 200, 1000)
_COUNT_TICKS = (10, 50, 200, 1000)
_IOU_TICKS = (0.5, 0.6, 0.7, 0.8, 0.9)

_MAX_PICTURE_SIDE = 320
_MAX_ENLARGEMENT = 8.0
_MARGIN = 0.3
_MIN_MARGIN = 8.0
_NEAREST = "nearest: IoU"


@dataclass(frozen=True)
class Curve:
    """One line of a plot: its name and its points, ``x,y x,y ..``, in a square of 100 x 100 units."""

    name: str
    line: str


@dataclass(frozen=True)
class RecallPlot:
    """Recall, upwards, in a square of 100 x 100 units.

    Attributes:
        title: What is plotted.
        axis: What runs to the right.
        ticks: Places to the right and their texts.
        curves: The lines.
    """

    title: str
    axis: str
    ticks: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class MissedPicture:
    """A missed object, cut out of its image.

    Attributes:
        file_name: The image.
        name: The class.
        size: Width and height of the object in pixels, as text.
        iou: Overlap of the nearest proposal.
        picture: JPEG with both boxes as a data URI; empty if the image could not be read.
        note: Why the image could not be read, else empty.
    """

    file_name: str
    name: str
    size: str
    iou: float
    picture: str = ""
    note: str = ""


def recall_plots(evaluation: ProposalEvaluation) -> list[RecallPlot]:
    """Recall against the number of proposals and against the overlap; no plots without objects."""
    if evaluation.num_objects["all"] == 0:
        return []
    by_count = [
        Curve(
            f"IoU {iou:g}", _line(map(_count_place, COUNTS), [n.recall_of(iou) for n in evaluation.by_count.values()])
        )
        for iou in _CURVE_IOUS
    ]
    lines = {f"{count} proposals": evaluation.by_count[count].recall for count in _CURVE_COUNTS}
    if evaluation.priors is not None:
        lines["all priors"] = evaluation.priors.recall
    by_iou = [Curve(name, _line(map(_iou_place, IOU_THRESHOLDS), recall)) for name, recall in lines.items()]
    count_ticks = tuple((_count_place(count), str(count)) for count in _COUNT_TICKS)
    iou_ticks = tuple((_iou_place(iou), f"{iou:g}") for iou in _IOU_TICKS)
    return [
        RecallPlot("Recall by number of proposals", "proposals of an image", count_ticks, tuple(by_count)),
        RecallPlot("Recall by overlap", "IoU asked for", iou_ticks, tuple(by_iou)),
    ]


def _count_place(count: int) -> float:
    """Place of a number of proposals on a logarithmic axis from the first of ``COUNTS`` to the last."""
    return round(100 * math.log(count / COUNTS[0]) / math.log(COUNTS[-1] / COUNTS[0]), 1)


def _iou_place(iou: float) -> float:
    """Place of an overlap on an axis from 0.5 to 0.95."""
    low, high = IOU_THRESHOLDS[0], IOU_THRESHOLDS[-1]
    return round(100 * (iou - low) / (high - low), 1)


def _line(places: Iterable[float], recall: Sequence[float | None]) -> str:
    """Points of an SVG polyline: y downwards is 1 - recall."""
    pairs = zip(places, recall, strict=True)
    return " ".join(f"{place:.1f},{100 - 100 * value:.1f}" for place, value in pairs if value is not None)


def missed_pictures(covers: Sequence[ImageCover], class_names: Sequence[str]) -> tuple[list[MissedPicture], int]:
    """Draws at most ``MAX_MISSED`` missed objects, evenly spread over the split; also returns how many there are."""
    missed = list(missed_objects(covers))
    shown = np.unique(np.linspace(0, len(missed) - 1, min(MAX_MISSED, len(missed))).round().astype(np.int64)).tolist()
    pictures: list[MissedPicture] = []
    for _, group in groupby((missed[index] for index in shown), key=lambda item: item[0].record.image_id):
        pictures += _pictures_of_image(list(group), class_names)
    return pictures, len(missed)


def _pictures_of_image(missed: list[tuple[ImageCover, int]], class_names: Sequence[str]) -> list[MissedPicture]:
    """The missed objects of one image, which is read once; an unreadable one becomes notes."""
    record = missed[0][0].record
    image, note = None, ""
    try:
        image = read_image(record.path)
    except InputError as error:
        note = str(error)
    pictures = []
    for cover, place in missed:
        row, iou = cover.rows[place], float(cover.best_iou[place, -1])
        left, top, right, bottom = record.boxes[row].tolist()
        drawn = "" if image is None else jpeg_uri(_draw_missed(image, cover, place, class_names))
        name, size = class_names[int(record.labels[row])], f"{right - left:.0f} x {bottom - top:.0f}"
        pictures.append(MissedPicture(record.file_name, name, size, iou, drawn, note))
    return pictures


def _draw_missed(image: Image, cover: ImageCover, place: int, class_names: Sequence[str]) -> Image:
    """Cuts out the object with its nearest proposal and draws both, the object on top."""
    row = cover.rows[place]
    box, nearest = cover.record.boxes[row].astype(np.float64), cover.nearest[[place]]
    nearest = nearest[~np.isnan(nearest[:, 0])]  # (0 or 1, 4)
    left, top, right, bottom = _window(np.vstack([box, nearest]), (image.shape[0], image.shape[1]))
    cut = image[top:bottom, left:right]
    scale = min(_MAX_PICTURE_SIDE / max(cut.shape[:2]), _MAX_ENLARGEMENT)
    canvas = scale_image(cut, scale)
    size_hw, corner = (canvas.shape[0], canvas.shape[1]), np.array([left, top, left, top])

    def placed(boxes: Floats) -> torch.Tensor:
        return torch.from_numpy((boxes - corner) * scale).float()

    # A label of its own gives the proposal a colour that no class has.
    iou, labels = torch.tensor(cover.best_iou[place, -1:]).float(), torch.tensor([len(class_names)])
    found = Detections(placed(nearest), iou[: len(nearest)], labels[: len(nearest)], size_hw)
    truth = Target(
        placed(box[None]), torch.tensor([int(cover.record.labels[row])]), torch.zeros(1, dtype=torch.bool), size_hw
    )
    with_nearest = draw_detections(canvas, found, class_names=(*class_names, _NEAREST))
    return draw_targets(with_nearest, truth, class_names=class_names)


def _window(boxes: Floats, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels around boxes (N, 4) with a margin, inside the image: left, top, right, bottom."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = np.maximum(_MARGIN * (high - low), _MIN_MARGIN)
    left, top = np.maximum(np.floor(low - margin), 0).astype(np.int64).tolist()
    right, bottom = np.minimum(np.ceil(high + margin), size_hw[::-1]).astype(np.int64).tolist()
    return left, top, right, bottom


def count_text(count: float | None) -> str:
    """A mean number of boxes: one decimal, none from 1000; ``n/a`` where there is no image."""
    if count is None:
        return "n/a"
    return f"{count:.1f}" if count < 1000 else f"{count:.0f}"

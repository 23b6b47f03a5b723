"""The evaluation as files: ``metrics.json`` for programs and ``report.html``, one offline page, for people."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

from detection.atomic import atomic_path
from detection.data.image import read_image
from detection.data.records import DetectionData, ImageRecord
from detection.errors import InputError
from detection.evaluation.class_boxes import pack_by_class
from detection.evaluation.image_errors import ImageErrors, rank_image_errors
from detection.evaluation.report_view import MAX_CURVES, curve_plots, headlines, number_text, size_bands
from detection.evaluation.summary import PROTOCOLS, Evaluation
from detection.structures import Detections, Target
from detection.visualize import Image, draw_detections, draw_targets

DEFAULT_SCORE_THRESHOLD = 0.5
"""Used for the pictures where a class has no right detection and so no best threshold."""

_NUM_PICTURES = 6
_MAX_PICTURE_SIDE = 640
_MAX_ENLARGEMENT = 4.0
_JPEG_QUALITY = 85
_MAX_LISTED = 100


@dataclass(frozen=True)
class Picture:
    """One image of the gallery.

    Attributes:
        file_name: The image.
        errors: What is wrong in it.
        truth: JPEG with the labelled objects as a data URI; empty if the image could not be read.
        found: The same with the detections above the thresholds.
        note: Why the image could not be read, else empty.
    """

    file_name: str
    errors: ImageErrors
    truth: str = ""
    found: str = ""
    note: str = ""


def write_report(
    out: Path,
    data: DetectionData,
    detections: Mapping[int, Detections],
    evaluation: Evaluation,
    *,
    title: str,
    context: Mapping[str, str],
) -> None:
    """Writes ``metrics.json`` and ``report.html`` into a folder.

    The page needs no network and no other file. Every text of the user is escaped.

    Args:
        out: The folder; it is made if it is missing.
        data: The split that was evaluated.
        detections: The detections that were evaluated, by image id.
        evaluation: Their numbers.
        title: Heading of the page.
        context: What was evaluated and how, shown below the title: model, data, split, score floor, NMS.
    """
    metrics = json.dumps(evaluation.to_metrics(), indent=2, allow_nan=False)
    with atomic_path(out / "metrics.json") as draft:
        draft.write_text(metrics + "\n", encoding="ascii", newline="\n")
    environment = Environment(
        loader=PackageLoader("detection.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number_text
    page = environment.get_template("report.html.j2").render(
        title=title,
        context=context,
        evaluation=evaluation,
        protocols=PROTOCOLS,
        headlines=headlines(evaluation),
        bands=size_bands(evaluation),
        curves=curve_plots(evaluation.per_class),
        max_curves=MAX_CURVES,
        pictures=_worst_pictures(data, detections, evaluation),
        findings=data.findings[:_MAX_LISTED],
        findings_by_kind=Counter(finding.kind for finding in data.findings),
        failures=list(evaluation.failures.items())[:_MAX_LISTED],
    )
    with atomic_path(out / "report.html") as draft:
        draft.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")


def _worst_pictures(data: DetectionData, detections: Mapping[int, Detections], evaluation: Evaluation) -> list[Picture]:
    """The images with most errors, worst first."""
    best = evaluation.score_thresholds.values()
    thresholds = [DEFAULT_SCORE_THRESHOLD if threshold is None else threshold for threshold in best]
    worst = rank_image_errors(pack_by_class(data, detections), thresholds)[:_NUM_PICTURES]
    pictures = []
    for errors in worst:
        record = data.images[errors.image]
        found = detections.get(record.image_id, Detections.empty(record.size_hw)).to(torch.device("cpu"))
        kept = found[found.scores >= torch.tensor(thresholds)[found.labels]]
        pictures.append(_picture(record, kept, errors, class_names=data.class_names))
    return pictures


def _picture(record: ImageRecord, found: Detections, errors: ImageErrors, *, class_names: tuple[str, ...]) -> Picture:
    """Draws truth and detections of one image; an unreadable image becomes a note."""
    try:
        image = read_image(record.path)
    except InputError as error:
        return Picture(record.file_name, errors, note=str(error))
    scale = min(_MAX_PICTURE_SIDE / max(image.shape[:2]), _MAX_ENLARGEMENT)
    canvas = _resize(image, scale)
    size_hw = canvas.shape[:2]
    columns = (torch.from_numpy(record.labels), torch.from_numpy(record.ignore))
    target = Target(torch.from_numpy(record.boxes) * scale, *columns, size_hw)
    scaled = Detections(found.boxes * scale, found.scores, found.labels, size_hw)
    truth = _jpeg_uri(draw_targets(canvas, target, class_names=class_names))
    return Picture(record.file_name, errors, truth, _jpeg_uri(draw_detections(canvas, scaled, class_names=class_names)))


def _resize(image: Image, scale: float) -> Image:
    """Scales an image; no side falls below one pixel."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def _jpeg_uri(image: Image) -> str:
    """Encodes an RGB image as a data URI."""
    encoded, buffer = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert encoded, "OpenCV encodes every uint8 image as JPEG"
    return "data:image/jpeg;base64," + base64.b64encode(buffer.tobytes()).decode("ascii")

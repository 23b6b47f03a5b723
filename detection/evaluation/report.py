"""The evaluation as files: ``metrics.json`` for programs and ``report.html``, one offline page, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from detection.data.image import read_image
from detection.data.records import DetectionData, ImageRecord
from detection.errors import InputError
from detection.evaluation.class_boxes import pack_by_class
from detection.evaluation.image_errors import ImageErrors, rank_image_errors
from detection.evaluation.page import jpeg_uri, scale_image, write_json, write_page
from detection.evaluation.report_view import MAX_CURVES, curve_plots, headlines, reliability_plot, size_bands
from detection.evaluation.summary import PROTOCOLS, Evaluation
from detection.structures import Detections, Target
from detection.visualize import draw_detections, draw_targets

DEFAULT_SCORE_THRESHOLD = 0.5
"""Used for the pictures where a class has no right detection and so no best threshold."""

_NUM_PICTURES = 6
_MAX_PICTURE_SIDE = 640
_MAX_ENLARGEMENT = 4.0
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
    write_json(out / "metrics.json", evaluation.to_metrics())
    content = {
        "title": title,
        "context": context,
        "evaluation": evaluation,
        "protocols": PROTOCOLS,
        "headlines": headlines(evaluation),
        "bands": size_bands(evaluation),
        "curves": curve_plots(evaluation.per_class),
        "max_curves": MAX_CURVES,
        "scores": reliability_plot(evaluation.per_class),
        "pictures": _worst_pictures(data, detections, evaluation),
        "findings": data.findings[:_MAX_LISTED],
        "findings_by_kind": Counter(finding.kind for finding in data.findings),
        "failures": list(evaluation.failures.items())[:_MAX_LISTED],
    }
    write_page(out / "report.html", "report.html.j2", content)


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
    canvas = scale_image(image, scale)
    size_hw = canvas.shape[:2]
    columns = (torch.from_numpy(record.labels), torch.from_numpy(record.ignore))
    target = Target(torch.from_numpy(record.boxes) * scale, *columns, size_hw)
    scaled = Detections(found.boxes * scale, found.scores, found.labels, size_hw)
    truth = jpeg_uri(draw_targets(canvas, target, class_names=class_names))
    return Picture(record.file_name, errors, truth, jpeg_uri(draw_detections(canvas, scaled, class_names=class_names)))

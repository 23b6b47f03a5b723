"""The audit of a data set as a page for people: figures, findings by kind, drawn samples; one offline file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detection.data.audit import Audit
from detection.data.findings import group_findings
from detection.data.image import read_image
from detection.data.records import DetectionData, Finding, ImageRecord
from detection.data.statistics import SplitSummary
from detection.errors import InputError
from detection.evaluation.page import jpeg_uri, scale_image, write_page
from detection.structures import Target
from detection.visualize import draw_targets

MAX_LISTED = 50
"""Findings of one kind that are written out."""

SAMPLES_PER_SPLIT = 6

_MAX_PICTURE_SIDE = 480
_MAX_ENLARGEMENT = 4.0


@dataclass(frozen=True)
class Bar:
    """A number of a histogram and its length in percent of the largest of its split."""

    count: int
    percent: float


@dataclass(frozen=True)
class Histogram:
    """Numbers by range, side by side for all splits.

    Attributes:
        title: What is counted.
        note: What the ranges are.
        rows: Range -> one bar a split.
    """

    title: str
    note: str
    rows: Mapping[str, Sequence[Bar]]


@dataclass(frozen=True)
class FindingGroup:
    """The findings of one kind.

    Attributes:
        kind: Their kind.
        count: How many there are.
        shown: The first of them.
        remedy: What to do; empty if it differs from finding to finding.
    """

    kind: str
    count: int
    shown: Sequence[Finding]
    remedy: str


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        split: Its split.
        file_name: Its name.
        num_objects: Labelled objects.
        picture: JPEG with the objects drawn, as a data URI; empty if the image cannot be read.
        note: Why it cannot, else empty.
    """

    split: str
    file_name: str
    num_objects: int
    picture: str = ""
    note: str = ""


def write_audit_page(path: Path, audit: Audit) -> None:
    """Writes the page; it needs no network and no other file, and every text of the user is escaped.

    Args:
        path: The page.
        audit: What was found.
    """
    names = dict.fromkeys(name for entry in audit.splits for name in entry.objects_per_class)
    by_class = [{name: entry.objects_per_class.get(name, 0) for name in names} for entry in audit.splits]
    num_objects = {image.path: len(image.boxes) for part in audit.parts for image in part.images}
    content = {
        "audit": audit,
        "num_images": len(num_objects),
        "num_objects": sum(num_objects.values()),
        "classes": _rows(by_class),
        "category_ids": {name: number for entry in audit.splits for name, number in entry.category_ids.items()},
        "histograms": histograms(audit.splits),
        "groups": group_for_page(audit.findings),
        "samples": [sample for part in audit.parts for sample in draw_samples(part)],
    }
    write_page(path, "audit_page.html.j2", content)


def histograms(splits: Sequence[SplitSummary]) -> list[Histogram]:
    """The histograms of a page: sizes and shapes of boxes, crowding, sizes of images."""
    return [
        Histogram("Box size", "square root of the area in pixels", _rows([entry.box_sides for entry in splits])),
        Histogram("Box shape", "width to height", _rows([entry.box_shapes for entry in splits])),
        Histogram("Objects in an image", "images by objects", _rows([entry.objects_per_image for entry in splits])),
        Histogram("Image size", "width x height in pixels", _rows([entry.image_sizes for entry in splits])),
    ]


def group_for_page(findings: Sequence[Finding]) -> list[FindingGroup]:
    """The findings by kind, the most frequent first, at most `MAX_LISTED` of each written out."""
    groups = []
    for kind, group in group_findings(findings).items():
        remedies = {finding.remedy for finding in group}
        groups.append(FindingGroup(kind, len(group), group[:MAX_LISTED], remedies.pop() if len(remedies) == 1 else ""))
    return groups


def draw_samples(part: DetectionData) -> list[Sample]:
    """Images of a split, evenly spread over those with objects; over all of them if none has any."""
    labelled = [image for image in part.images if len(image.boxes)] or list(part.images)
    places = np.linspace(0, max(len(labelled) - 1, 0), SAMPLES_PER_SPLIT).round().astype(int).tolist()
    return [_draw(labelled[place], part) for place in dict.fromkeys(places) if place < len(labelled)]


def _rows(columns: Sequence[Mapping[str, int]]) -> dict[str, list[Bar]]:
    """Turns one mapping a split into one row a range."""
    largest = [max(column.values(), default=0) or 1 for column in columns]
    names = dict.fromkeys(name for column in columns for name in column)
    return {
        name: [
            Bar(column.get(name, 0), round(100 * column.get(name, 0) / most, 1))
            for column, most in zip(columns, largest, strict=True)
        ]
        for name in names
    }


def _draw(record: ImageRecord, part: DetectionData) -> Sample:
    """Draws the objects of one image; an unreadable image becomes a note."""
    try:
        image = read_image(record.path)
    except InputError as error:
        return Sample(part.split, record.file_name, len(record.boxes), note=str(error))
    scale = min(_MAX_PICTURE_SIDE / max(image.shape[:2]), _MAX_ENLARGEMENT)
    canvas = scale_image(image, scale)
    boxes, labels, ignore = map(torch.from_numpy, (record.boxes, record.labels, record.ignore))
    target = Target(boxes * scale, labels, ignore, canvas.shape[:2])
    picture = jpeg_uri(draw_targets(canvas, target, class_names=part.class_names))
    return Sample(part.split, record.file_name, len(record.boxes), picture)

"""Detections as COCO results: ``detections.json`` with ``images.json`` beside it; ``results_file`` reads them.

``detections.json`` is a list of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}`` with the
original category ids and boxes in pixels of the original image; ``images.json`` tells what is behind the ids:
``{"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}]}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from detection.atomic import atomic_path
from detection.structures import Detections

DETECTIONS_FILE = "detections.json"
IMAGES_FILE = "images.json"


@dataclass(frozen=True)
class ImageDetections:
    """The detections of one image, and which image that is.

    Attributes:
        image_id: Id of the image in the results.
        file_name: Name relative to the image folder, with forward slashes.
        detections: Boxes in pixels of the original image; its size is ``detections.image_size_hw``.
    """

    image_id: int
    file_name: str
    detections: Detections


def write_coco(
    out: Path, images: Iterable[ImageDetections], *, class_names: Sequence[str], category_ids: Sequence[int]
) -> None:
    """Writes ``detections.json`` and ``images.json`` into a folder; the same detections give the same bytes.

    The detections are written as they come, so memory does not grow with them.

    Args:
        out: The folder; it is made if it is missing.
        images: The images in the order to be written, those without detections included.
        class_names: C names by label.
        category_ids: C original ids by label.
    """
    categories = [{"id": number, "name": name} for number, name in zip(category_ids, class_names, strict=True)]
    with (
        atomic_path(out / DETECTIONS_FILE) as draft,
        atomic_path(out / IMAGES_FILE) as listing_draft,
        draft.open("w", encoding="ascii", newline="\n") as file,
        listing_draft.open("w", encoding="ascii", newline="\n") as listing,
    ):
        rows, entries = _ListWriter(file), _ListWriter(listing)
        listing.write('{"images": ')
        for image in images:
            height, width = image.detections.image_size_hw
            entries.add({"id": image.image_id, "file_name": image.file_name, "width": width, "height": height})
            for row in coco_rows(image, category_ids=category_ids):
                rows.add(row)
        rows.end()
        entries.end()
        listing.write(f', "categories": {json.dumps(categories)}}}\n')
        file.write("\n")


class _ListWriter:
    """Writes a JSON list entry by entry, one a line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._separator = "[\n"

    def add(self, entry: Mapping[str, Any]) -> None:
        """Writes an entry."""
        self._file.write(self._separator + json.dumps(entry, allow_nan=False))
        self._separator = ",\n"

    def end(self) -> None:
        """Closes the list."""
        self._file.write("[]" if self._separator == "[\n" else "\n]")


def coco_rows(image: ImageDetections, *, category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yields the rows of one image for ``detections.json``, best score first.

    Width and height are differences in double precision, so ``x + width`` gives back the very float32 edge.
    """
    for (x1, y1, x2, y2), score, label in detection_rows(image.detections):
        bbox = [x1, y1, x2 - x1, y2 - y1]
        yield {"image_id": image.image_id, "category_id": category_ids[label], "bbox": bbox, "score": score}


def detection_rows(detections: Detections) -> Iterator[tuple[list[float], float, int]]:
    """Yields box xyxy, score and label of each detection as plain numbers that hold the float32 values exactly."""
    yield from zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)

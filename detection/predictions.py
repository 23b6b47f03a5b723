"""Detections as COCO results: ``detections.json`` with ``images.json`` beside it, written and read.

``detections.json`` is a list of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}`` with the
original category ids and boxes in pixels of the original image; ``images.json`` tells what is behind the ids:
``{"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}]}``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import numpy as np
import torch

from detection.atomic import atomic_path
from detection.data.records import DetectionData
from detection.errors import InputError
from detection.structures import Detections

DETECTIONS_FILE = "detections.json"
IMAGES_FILE = "images.json"

_MAX_COORDINATE = 1e9
"""Beyond any image, and well inside float32."""


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


@dataclass(frozen=True)
class ReadDetections:
    """What a results file says of a split.

    Attributes:
        detections: Image id of the split -> its detections, best score first; images without detections have no entry.
        warnings: What was left out and what is missing, each a sentence without a full stop.
    """

    detections: dict[int, Detections]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Ids:
    """What the ids in a results file stand for.

    Attributes:
        images: Image id -> image id of the split, None if the split does not have the image.
        labels: Category id -> label of the split, None if the split does not have the class.
        unknown_classes: Names of those classes.
        warnings: As in ``ReadDetections``.
    """

    images: Mapping[int, int | None]
    labels: Mapping[int, int | None]
    unknown_classes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


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


def read_detections(path: Path, data: DetectionData) -> ReadDetections:
    """Reads a COCO results file of any tool for the images and classes of a split.

    If ``images.json`` lies beside the file, as ``write_coco`` leaves it, images and classes are recognised by name: a
    run over a folder numbers its images in its own way, and a detector may know classes that the split lacks. Rows for
    images outside the split are left out, rows for classes that it lacks too, with a warning. Without it the ids are
    those of the split, and an unknown one is an error.

    Args:
        path: The results, a json list.
        data: The split.

    Raises:
        InputError: If a row is not a detection of a known image and class: says which row, its value and the remedy.
            Also if ``images.json`` shares no image or no class with the split.
    """
    rows = _load_json(path)
    if not isinstance(rows, list):
        raise InputError(
            f"{path}: expected a list of detections (COCO results), got {_brief(rows)}; "
            'write [{"image_id", "category_id", "bbox", "score"}, ...]'
        )
    listing = path.with_name(IMAGES_FILE)
    if listing.is_file():
        ids = _listed_ids(listing, data)
    else:
        images = {record.image_id: record.image_id for record in data.images}
        ids = _Ids(images, {category_id: label for label, category_id in enumerate(data.category_ids)})
    found: dict[int, list[tuple[list[float], int]]] = defaultdict(list)
    num_unknown = 0
    for number, row in enumerate(rows, start=1):
        image_id, numbers, label = _read_row(row, f"{path}: row {number}", ids)
        if image_id is not None and label is not None:
            found[image_id].append((numbers, label))
        elif image_id is not None:
            num_unknown += 1
    warnings = ids.warnings
    if num_unknown:
        names = ", ".join(repr(name) for name in ids.unknown_classes)
        warnings += (f"{num_unknown} detections were left out: '{data.split}' has none of the classes {names}",)
    sizes = {record.image_id: record.size_hw for record in data.images}
    detections = {image_id: _to_detections(columns, sizes[image_id]) for image_id, columns in found.items()}
    return ReadDetections(detections, warnings)


def _to_detections(rows: list[tuple[list[float], int]], image_size_hw: tuple[int, int]) -> Detections:
    """Sorts rows ([x, y, width, height, score], label) of one image; equal scores keep their order."""
    numbers = np.array([row for row, _ in rows])
    order = np.argsort(-numbers[:, 4], kind="stable")
    numbers = numbers[order]
    boxes = np.hstack([numbers[:, :2], numbers[:, :2] + numbers[:, 2:4]]).astype(np.float32)
    labels = np.array([label for _, label in rows], dtype=np.int64)[order]
    scores = numbers[:, 4].astype(np.float32)
    return Detections(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels), image_size_hw)


def _read_row(row: object, where: str, ids: _Ids) -> tuple[int | None, list[float], int | None]:
    """Checks one row; returns image id and label of the split (None: not in it) around [x, y, width, height, score]."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object, got {_brief(row)}; write one object for each detection")
    remedy = "give the split that these detections belong to, or remove the row"
    image_id = _look_up(row, "image_id", where, ids.images, remedy)
    remedy = f"use the category ids of the data set, or those of {IMAGES_FILE} where it lies beside the results"
    label = _look_up(row, "category_id", where, ids.labels, remedy)
    bbox = row.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise InputError(f"{where}: bbox is {_brief(bbox)}, expected four numbers [x, y, width, height]; mend the row")
    numbers = [_number(value, where, "bbox") for value in bbox]
    if min(numbers[2:]) < 0:
        raise InputError(f"{where}: bbox is {_brief(bbox)}, its size is negative; write [x, y, width, height]")
    score = _number(row.get("score"), where, "score")
    if not 0 <= score <= 1:
        raise InputError(f"{where}: score is {score}, expected 0 to 1; scale the scores (percentages by 1/100)")
    return image_id, [*numbers, score], label


def _look_up(
    row: Mapping[str, object], key: str, where: str, known: Mapping[int, int | None], remedy: str
) -> int | None:
    """What the integer under ``key`` stands for."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{where}: {key} is {_brief(value)}, expected an integer; {remedy}")
    if value not in known:
        some = ", ".join(str(each) for each in list(known)[:10]) + (", ..." if len(known) > 10 else "")
        raise InputError(f"{where}: {key} {value} is unknown, expected one of {some or 'none'}; {remedy}")
    return known[value]


def _number(value: object, where: str, key: str) -> float:
    """A finite number of reasonable size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {key} holds {_brief(value)}, expected a number; mend the row")
    if not abs(value) <= _MAX_COORDINATE:
        raise InputError(f"{where}: {key} holds {_brief(value)}, expected a finite number of pixels; remove the row")
    return float(value)


def _listed_ids(listing: Path, data: DetectionData) -> _Ids:
    """The ids of ``images.json``, translated by name."""
    content = _load_json(listing)
    classes = dict(_pairs(listing, content, "categories", "name"))
    labels = {name: label for label, name in enumerate(data.class_names)}
    unknown = tuple(name for name in classes.values() if name not in labels)
    if labels and classes and len(unknown) == len(classes):
        raise InputError(
            f"{listing}: none of the detector's classes {_brief(list(unknown))} is among those of the data set "
            f"{_brief(list(labels))}; evaluate on the data set it was trained for, or rename the classes there"
        )
    images = _match_images(dict(_pairs(listing, content, "images", "file_name")), data)
    matched = set(images.values()) - {None}
    if images and not matched:
        some_name = data.images[0].file_name if data.images else None
        raise InputError(
            f"{listing}: none of its {len(images)} images is in split '{data.split}', whose file names are like "
            f"{_brief(some_name)}; give the data set that these detections belong to"
        )
    warnings = []
    if missing := len(data.images) - len(matched):
        listed = f"{missing} of {len(data.images)} images of '{data.split}' are not in {listing}"
        warnings.append(f"{listed}; they count as images without detections")
    if absent := [name for name in labels if name not in classes.values()]:
        warnings.append(f"the detector does not know {_brief(absent)} of '{data.split}'; such objects count as missed")
    by_id = {number: labels.get(name) for number, name in classes.items()}
    return _Ids(images, by_id, unknown, tuple(warnings))


def _match_images(listed: Mapping[int, str], data: DetectionData) -> dict[int, int | None]:
    """Image id in the results -> image id of the split, None for an image that the split does not have.

    Where no name is the same, base names that occur once on each side count: names of a YOLO split start at its yaml,
    those of a run at the folder it was given.
    """
    names, split = dict(listed), {record.image_id: record.file_name for record in data.images}
    if not set(names.values()) & set(split.values()):
        names, split = _unique_base_names(names), _unique_base_names(split)
    image_ids = {name: image_id for image_id, name in split.items()}
    return {number: image_ids.get(names.get(number, "")) for number in listed}


def _unique_base_names(names: Mapping[int, str]) -> dict[int, str]:
    """Id -> name without its folders, where no other id has the same."""
    bases = {number: PurePosixPath(name).name for number, name in names.items()}
    uses = Counter(bases.values())
    return {number: base for number, base in bases.items() if uses[base] == 1}


def _pairs(listing: Path, content: object, table: str, key: str) -> list[tuple[int, str]]:
    """(id, text) of each entry of one table of ``images.json``."""
    entries = content.get(table) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InputError(f"{listing}: expected a list under '{table}'; write it again or remove the file")
    pairs = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int) or not isinstance(entry.get(key), str):
            raise InputError(
                f"{listing}: entry {number} of '{table}' is {_brief(entry)}, expected an integer id and a text {key}; "
                "write it again or remove the file"
            )
        pairs.append((entry["id"], entry[key]))
    return pairs


def _load_json(path: Path) -> object:
    """Parses a json file of the user."""
    try:
        content: object = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a COCO results file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); give a COCO results file") from error
    return content


def _brief(value: object) -> str:
    """A value for a message, cut where it grows long."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."

"""A results file of any tool as detections of a split: COCO results, read row by row."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from detection.data.records import DetectionData
from detection.errors import InputError
from detection.predictions import IMAGES_FILE
from detection.results_ids import ResultIds, brief, results_ids, unreadable
from detection.structures import Detections

_MAX_COORDINATE = 1e9
"""Beyond any image, and well inside float32."""

_PIECE = 1 << 20
"""Characters that are read at once."""

_LONGEST_ROW = 1 << 22

_TAIL = 4
"""Up to this many characters behind a number may belong to it: ``1e+`` is a 1 until the next piece comes."""

_FIRST = re.compile(r"[ \t\n\r]*\[[ \t\n\r]*(\])?")
_NEXT = re.compile(r"[ \t\n\r]*(?:,[ \t\n\r]*|(\]))")
_END = object()


@dataclass(frozen=True)
class ReadDetections:
    """What a results file says of a split.

    Attributes:
        detections: Image id of the split -> its detections, best score first; images without detections have no entry.
        warnings: What was left out and what is missing, each a sentence without a full stop.
    """

    detections: dict[int, Detections]
    warnings: tuple[str, ...] = ()


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
    ids, where = results_ids(path, data), f"{path}: row "
    places = {record.image_id: place for place, record in enumerate(data.images)}
    columns, left_out = _Columns(), Counter[str]()
    written: dict[int, object] = {}  # of the images that the files list more than once
    repeated = set(data.other_ids.values())
    for number, row in enumerate(_iterate_rows(path), start=1):
        given, image_id, numbers, label = _read_row(row, f"{where}{number}", ids)
        if image_id in repeated and given != written.setdefault(image_id, given):
            left_out["again"] += 1
        elif image_id is not None and label is not None:
            columns.add(places[image_id], numbers, label)
        elif image_id is not None:
            left_out["unknown"] += 1
        elif given in ids.unreadable:
            left_out["unreadable"] += 1
    why = {
        "unknown": f"'{data.split}' has none of the classes {', '.join(map(repr, ids.unknown_classes))}",
        "again": "their images are listed, and were answered, once more",
        "unreadable": "the files of their images are missing or broken",
    }
    told = (f"{left_out[kind]} detections were left out: {reason}" for kind, reason in why.items() if left_out[kind])
    found = columns.by_image([record.size_hw for record in data.images])
    return ReadDetections({data.images[place].image_id: own for place, own in found.items()}, (*ids.warnings, *told))


class _Columns:
    """Rows as columns of plain numbers: 56 bytes a row, where a dict takes ten times as many."""

    def __init__(self) -> None:
        self._numbers, self._places, self._labels = array("d"), array("q"), array("q")

    def add(self, place: int, numbers: Sequence[float], label: int) -> None:
        """Takes [x, y, width, height, score] and label of a detection of the image at a place of the split."""
        self._numbers.extend(numbers)
        self._places.append(place)
        self._labels.append(label)

    def by_image(self, sizes_hw: Sequence[tuple[int, int]]) -> dict[int, Detections]:
        """Place -> its detections, best score first; equal scores keep their order. Images without have no entry."""
        numbers = np.frombuffer(self._numbers, np.float64).reshape(-1, 5)
        places, labels = (np.frombuffer(each, np.int64) for each in (self._places, self._labels))
        order = np.lexsort((-numbers[:, 4], places))
        numbers = numbers[order]
        boxes = torch.from_numpy(np.hstack([numbers[:, :2], numbers[:, :2] + numbers[:, 2:4]]).astype(np.float32))
        scores, classes = torch.from_numpy(numbers[:, 4].astype(np.float32)), torch.from_numpy(labels[order])
        used, starts = np.unique(places[order], return_index=True)
        rows = [slice(start, end) for start, end in pairwise([*starts.tolist(), len(order)])]
        return {
            place: Detections(boxes[own], scores[own], classes[own], sizes_hw[place])
            for place, own in zip(used.tolist(), rows, strict=True)
        }


def _iterate_rows(path: Path) -> Iterator[object]:
    """The rows of a JSON list, one after the other; rows before a fault are given all the same.

    Raises:
        InputError: If the file cannot be read or holds no list.
    """
    count = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for row in _iterate_list(file):
                yield row
                count += 1
    except _NoListError as error:
        raise InputError(
            f"{path}: expected a list of detections (COCO results), got {error}; "
            'write [{"image_id", "category_id", "bbox", "score"}, ...]'
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error, f"after row {count}: " if count else "") from error


class _NoListError(Exception):
    """The file holds something else, which the text shows."""


def _iterate_list(file: TextIO) -> Iterator[object]:
    """The entries of a JSON list; memory holds a piece of the file.

    Raises:
        ValueError: If it is damaged.
        RecursionError: If an entry is nested too deeply.
        _NoListError: If it is no list.
    """
    text, place, separator = file.read(_PIECE), 0, _FIRST
    if text.lstrip()[:1] not in ("[", ""):
        raise _NoListError(brief(json.loads(text + file.read())))
    decode = json.JSONDecoder().raw_decode
    while True:
        row, end, fault = _entry(decode, text, place, separator)
        if fault is not None or end > len(text) - _TAIL:  # perhaps the piece ends within the entry
            if len(text) - place < _LONGEST_ROW and (more := file.read(_PIECE)):
                text, place = text[place:] + more, 0
                continue
            if fault is not None:
                raise fault
        if row is _END:
            if (text[end:] + file.read()).strip():
                raise ValueError("something follows the list")
            return
        yield row
        place, separator = end, _NEXT


def _entry(
    decode: Callable[[str, int], tuple[object, int]], text: str, place: int, separator: re.Pattern[str]
) -> tuple[object, int, ValueError | None]:
    """One entry with what stands before it -> the entry or ``_END``, where it ends, and what is wrong instead."""
    before = separator.match(text, place)
    if before is None:
        return None, place, ValueError("expected a comma or the end of the list")
    if before[1]:
        return _END, before.end(), None
    try:
        return *decode(text, before.end()), None
    except ValueError as error:
        return None, place, error


def _read_row(row: object, where: str, ids: ResultIds) -> tuple[int, int | None, list[float], int | None]:
    """Checks one row.

    Returns:
        Its image id; image id and label of the split (None: not in it) around [x, y, width, height, score].
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object, got {brief(row)}; write one object for each detection")
    remedy = "give the split that these detections belong to, or remove the row"
    given, image_id = _look_up(row, "image_id", where, ids.images, remedy)
    remedy = f"use the category ids of the data set, or those of {IMAGES_FILE} where it lies beside the results"
    _, label = _look_up(row, "category_id", where, ids.labels, remedy)
    bbox = row.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise InputError(f"{where}: bbox is {brief(bbox)}, expected four numbers [x, y, width, height]; mend the row")
    numbers = [_number(value, where, "bbox") for value in bbox]
    if min(numbers[2:]) < 0:
        raise InputError(f"{where}: bbox is {brief(bbox)}, its size is negative; write [x, y, width, height]")
    score = _number(row.get("score"), where, "score")
    if not 0 <= score <= 1:
        raise InputError(f"{where}: score is {score}, expected 0 to 1; scale the scores (percentages by 1/100)")
    return given, image_id, [*numbers, score], label


def _look_up(
    row: Mapping[str, object], key: str, where: str, known: Mapping[int, int | None], remedy: str
) -> tuple[int, int | None]:
    """The integer under ``key``, and what it stands for."""
    value = row.get(key)
    if isinstance(value, str):
        remedy = "number images and classes by integers, in the data set's json and in the results"
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{where}: {key} is {brief(value)}, expected an integer; {remedy}")
    if value not in known:
        some = ", ".join(str(each) for each in list(known)[:10]) + (", ..." if len(known) > 10 else "")
        raise InputError(f"{where}: {key} {value} is unknown, expected one of {some or 'none'}; {remedy}")
    return value, known[value]


def _number(value: object, where: str, key: str) -> float:
    """A finite number of reasonable size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {key} holds {brief(value)}, expected a number; mend the row")
    if not abs(value) <= _MAX_COORDINATE:
        raise InputError(f"{where}: {key} holds {brief(value)}, expected a finite number of pixels; remove the row")
    return float(value)

"""``evaluation.npz`` beside a report: the labels and detections that were evaluated, so that reports can be compared.

A zip of plain arrays and one JSON text, without pickle; 28 bytes a detection before it is compressed. What is read is
taken for a stranger's: sizes are checked before anything is unpacked, values before anything is computed.
Legend: I images, C classes; G ground truths and D detections over all images.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import tokenize
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt

from detection.atomic import atomic_path
from detection.data.raw import absolute_path
from detection.data.records import DetectionData
from detection.errors import InputError
from detection.evaluation.class_boxes import Floats, Ints, SplitBoxes

JUDGED_FILE = "evaluation.npz"
VERSION = 1

_MAX_BYTES = 2**31
_TEXT = "document"
_UNJUDGED = "unjudged"
_COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "gt_boxes": ("float32", (4,)),
    "gt_labels": ("int32", ()),
    "gt_ignore": ("bool", ()),
    "gt_image": ("int32", ()),
    "boxes": ("float32", (4,)),
    "scores": ("float32", ()),
    "labels": ("int32", ()),
    "image": ("int32", ()),
    "image_ids": ("int64", ()),
    "sizes_hw": ("int32", (2,)),
    "score_thresholds": ("float64", ()),
    _TEXT: ("uint8", ()),
}
"""Type and shape of a row of each array."""

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class JudgedSplit:
    """What was evaluated.

    Attributes:
        split: All boxes.
        root: Folder of the data set, absolute.
        file_names: I names of the images, as the data set has them.
        paths: I places of the images: below ``root``, or absolute where they lie elsewhere.
        image_ids: (I,) different ids.
        sizes_hw: (I, 2) height and width in pixels.
        score_thresholds: (C,) at which each class is detected best.
        max_detections: Detections that the COCO numbers count per image and class.
        context: What was evaluated and how, for the reader: model, data, split...
    """

    split: SplitBoxes
    root: Path
    file_names: tuple[str, ...]
    paths: tuple[str, ...]
    image_ids: Ints
    sizes_hw: Ints
    score_thresholds: Floats
    max_detections: int
    context: Mapping[str, str]

    @classmethod
    def of(
        cls,
        data: DetectionData,
        split: SplitBoxes,
        *,
        score_thresholds: Floats,
        max_detections: int,
        context: Mapping[str, str],
    ) -> JudgedSplit:
        """Of an evaluation.

        Args:
            data: The split.
            split: Its boxes, packed.
            score_thresholds: (C,) at which each class is detected best.
            max_detections: Detections that the COCO numbers count per image and class.
            context: What was evaluated and how.
        """
        root = _folder_of(data.root)
        return cls(
            split=split,
            root=root,
            file_names=tuple(record.file_name for record in data.images),
            paths=tuple(_below(absolute_path(record.path), root) for record in data.images),
            image_ids=np.array([record.image_id for record in data.images], dtype=np.int64),
            sizes_hw=np.array([record.size_hw for record in data.images], dtype=np.int64).reshape(-1, 2),
            score_thresholds=score_thresholds,
            max_detections=max_detections,
            context=dict(context),
        )

    def unjudged(self) -> list[tuple[int, str]]:
        """Index of the image and name of the class of each pair that ILSVRC's devkit does not judge, sorted."""
        return sorted((image, self.split.class_names[label]) for image, label in self.split.unjudged.tolist())

    def digest(self) -> str:
        """SHA-256 of images and labels: equal for results on the same data, whatever the order of their classes."""
        split, digest = self.split, hashlib.sha256()
        digest.update(json.dumps(self.file_names).encode("ascii"))
        digest.update(json.dumps([split.class_names[label] for label in split.gt_labels.tolist()]).encode("ascii"))
        columns = (self.sizes_hw, split.gt_image, split.gt_ignore, split.gt_boxes)
        for column, kind in zip(columns, ("<i8", "<i8", "u1", "<f8"), strict=True):
            digest.update(np.ascontiguousarray(column, dtype=kind).tobytes())
        unjudged = self.unjudged()
        digest.update(json.dumps(unjudged).encode("ascii") if unjudged else b"")
        return digest.hexdigest()


def _folder_of(root: Path) -> Path:
    """The folder of a data set, which may have been named by a file in it or in its ``annotations/``."""
    folder = absolute_path(root.parent if root.is_file() else root)
    return folder.parent if folder != absolute_path(root) and folder.name == "annotations" else folder


def write_judged(folder: Path, judged: JudgedSplit) -> None:
    """Writes ``evaluation.npz`` into a folder, whole or not at all; the same evaluation gives the same bytes."""
    split = judged.split
    document = {
        "version": VERSION,
        "digest": judged.digest(),
        "class_names": split.class_names,
        "root": str(judged.root),
        "file_names": judged.file_names,
        "paths": judged.paths,
        "max_detections": judged.max_detections,
        "context": judged.context,
        _UNJUDGED: split.unjudged.tolist(),
    }
    text = np.frombuffer(json.dumps(document, allow_nan=False).encode("ascii"), dtype=np.uint8)
    columns = {name: getattr(split if hasattr(split, name) else judged, name) for name in _COLUMNS if name != _TEXT}
    arrays = {name: np.asarray(value, dtype=_COLUMNS[name][0]) for name, value in columns.items()}
    with atomic_path(folder / JUDGED_FILE) as draft, draft.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays, **{_TEXT: text})


def read_judged(report: Path) -> JudgedSplit:
    """Reads what ``multibox evaluate`` left in its folder.

    Args:
        report: The folder, or the file itself.

    Raises:
        InputError: If there is no such file, or it is damaged, or its values cannot be those of an evaluation.
    """
    path = report / JUDGED_FILE if report.is_dir() else report
    if not path.is_file():
        raise InputError(
            f"{report}: holds no {JUDGED_FILE}; give a folder that `multibox evaluate ... --out FOLDER` wrote "
            "(one of an earlier version has to be evaluated again)"
        )
    try:
        arrays = _unpack(path)
        document = json.loads(arrays.pop(_TEXT).tobytes())
        judged = _judged(arrays, document)
    # Damaged zips are told by any of these.
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
        raise InputError(_damaged(path, str(error))) from error
    except (RuntimeError, MemoryError, lzma.LZMAError, tokenize.TokenError) as error:
        raise InputError(_damaged(path, str(error))) from error
    return judged


def _damaged(path: Path, reason: str) -> str:
    return f"{path}: not the file of an evaluation ({reason}); run `multibox evaluate` again"


def _below(path: Path, root: Path) -> str:
    """A path relative to the root where it lies below, with forward slashes."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _unpack(path: Path) -> Arrays:
    """Reads the arrays; no more is unpacked than their headers announce, and that is bounded."""
    with ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if missing := [name for name in _COLUMNS if f"{name}.npy" not in sizes]:
            raise ValueError(f"it has no {', '.join(missing)}")
        if sum(sizes.values()) > _MAX_BYTES:
            raise ValueError(f"it unpacks to {sum(sizes.values())} bytes, expected {_MAX_BYTES} at most")
        return {name: _read_array(archive, name) for name in _COLUMNS}


def _read_array(archive: ZipFile, name: str) -> npt.NDArray[Any]:
    """Reads one array of the type and shape that it has to have."""
    kind, row = _COLUMNS[name]
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        shape, is_transposed, dtype = np.lib.format.read_array_header_1_0(file)
        if version != (1, 0) or is_transposed or dtype != np.dtype(kind) or len(shape) != 1 + len(row):
            raise ValueError(f"{name} has type {dtype} and shape {shape}, expected {kind} and {1 + len(row)} axes")
        size = math.prod(shape) * dtype.itemsize
        content = file.read(min(size, _MAX_BYTES) + 1)
    if shape[1:] != row or len(content) != size:
        raise ValueError(f"{name} has shape {shape} and {len(content)} bytes, expected {size}")
    return np.frombuffer(content, dtype=dtype).reshape(shape)


def _judged(arrays: Arrays, document: Mapping[str, Any]) -> JudgedSplit:
    """Checks the values and puts them together."""
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']}, expected {VERSION}")
    class_names, file_names, paths = (_texts(document, key) for key in ("class_names", "file_names", "paths"))
    max_detections = document["max_detections"]
    if not isinstance(max_detections, int) or max_detections < 1:
        raise ValueError(f"max_detections is {max_detections!r}, expected 1 or more")
    _check_rows(arrays, num_classes=len(class_names), num_images=len(file_names))
    if len(paths) != len(file_names) or len(set(class_names)) != len(class_names):
        raise ValueError("its lists of images or classes do not fit together")
    split = SplitBoxes(
        class_names=class_names,
        num_images=len(file_names),
        gt_boxes=arrays["gt_boxes"].astype(np.float64),
        gt_labels=arrays["gt_labels"].astype(np.int64),
        gt_ignore=arrays["gt_ignore"].astype(np.bool_),
        gt_image=arrays["gt_image"].astype(np.int64),
        boxes=arrays["boxes"].astype(np.float64),
        scores=arrays["scores"].astype(np.float64),
        labels=arrays["labels"].astype(np.int64),
        image=arrays["image"].astype(np.int64),
        unjudged=_pairs(document, (len(file_names), len(class_names))),
    )
    return JudgedSplit(
        split=split,
        root=Path(str(document["root"])),
        file_names=file_names,
        paths=paths,
        image_ids=arrays["image_ids"].astype(np.int64),
        sizes_hw=arrays["sizes_hw"].astype(np.int64),
        score_thresholds=arrays["score_thresholds"].astype(np.float64),
        max_detections=max_detections,
        context={str(key): str(value) for key, value in dict(document["context"]).items()},
    )


def _pairs(document: Mapping[str, Any], below: tuple[int, int]) -> Ints:
    """The (N, 2) images and labels that ILSVRC's devkit does not judge; a file of an earlier version names none."""
    pairs = np.asarray(document.get(_UNJUDGED) or np.zeros((0, 2), np.int64))
    if pairs.dtype.kind != "i" or pairs.shape[1:] != (2,) or not ((pairs >= 0) & (pairs < below)).all():
        raise ValueError("a class that is not judged belongs to no image or is none")
    return pairs.astype(np.int64)


def _texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = document[key]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key} is no list of texts")
    return tuple(values)


def _check_rows(arrays: Arrays, *, num_classes: int, num_images: int) -> None:
    """Raises ValueError unless the arrays fit together and hold values that an evaluation can have."""
    groups = (("gt_boxes", "gt_labels", "gt_ignore", "gt_image"), ("boxes", "scores", "labels", "image"))
    tests = {
        "its columns have different lengths": all(len({len(arrays[name]) for name in group}) == 1 for group in groups)
        and len(arrays["image_ids"]) == len(arrays["sizes_hw"]) == num_images
        and len(arrays["score_thresholds"]) == num_classes,
        "a label belongs to no class": _all_inside(arrays, ("gt_labels", "labels"), num_classes),
        "a box belongs to no image": _all_inside(arrays, ("gt_image", "image"), num_images),
        "a number is not finite": all(
            bool(np.isfinite(arrays[name]).all()) for name in ("gt_boxes", "boxes", "scores", "score_thresholds")
        ),
        "its objects are not in the order of the images": bool((np.diff(arrays["gt_image"]) >= 0).all()),
        "its scores do not fall": bool((np.diff(arrays["scores"]) <= 0).all()),
        "an image has no size": bool((arrays["sizes_hw"] > 0).all()),
        "an image id occurs twice": len(np.unique(arrays["image_ids"])) == len(arrays["image_ids"]),
    }
    if failed := [reason for reason, passed in tests.items() if not passed]:
        raise ValueError(failed[0])


def _all_inside(arrays: Arrays, names: tuple[str, ...], number: int) -> bool:
    return all(bool(((arrays[name] >= 0) & (arrays[name] < number)).all()) for name in names)

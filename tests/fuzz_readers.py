"""Everything of the project that reads what strangers wrote, each in a small valid data set: what `fuzz.py` feeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from configs.load import dump_config, load_config
from configs.schema import Config
from detection.build import load_detector
from detection.checkpoint import ModelHeader, load_state, save_model, save_state
from detection.data.discover import load_dataset
from detection.data.image import decode_image
from detection.evaluation.judged_file import JUDGED_FILE, read_judged
from detection.journal import Journal
from detection.results_file import read_detections
from tests.builders import CLASS_NAMES, random_pixels, toy_images, write_coco, write_voc, write_yolo
from tests.detection.tiny import tiny_config, tiny_network


class Reader(NamedTuple):
    """One reader under test.

    Attributes:
        path: The file that the fuzzer writes.
        read: Reads it, and whatever belongs to it.
        seed: Valid contents to begin with.
    """

    path: Path
    read: Callable[[], object]
    seed: bytes


def _label_file(root: Path, write: Callable[..., Path], name: str) -> Reader:
    """One file of a small data set."""
    data = write(root / "data", {"train": toy_images(3)})
    path = data / name
    return Reader(path, lambda: load_dataset(data, "train"), path.read_bytes())


def _image(root: Path, suffix: str) -> Reader:
    path = root / f"image.{suffix}"
    Image.fromarray(random_pixels((24, 32))).save(path)
    return Reader(path, lambda: decode_image(path.read_bytes(), path.name, max_pixels=10**6), path.read_bytes())


def _model(root: Path) -> Reader:
    path = root / "model.safetensors"
    config = tiny_config().model_dump(mode="json")
    header = ModelHeader(config=config, class_names=CLASS_NAMES, category_ids=(1, 2, 3), training={})
    save_model(path, {"x": tiny_network().pyramid.laterals[0].conv.weight.detach()}, header)
    return Reader(path, lambda: load_detector(path, device="cpu"), path.read_bytes())


def _state(root: Path) -> Reader:
    import torch

    path = root / "state.safetensors"
    save_state(path, {"network.x": torch.zeros(2)}, {"step": 1, "identity": {}})
    return Reader(path, lambda: load_state(path), path.read_bytes())


def _config(root: Path) -> Reader:
    path = root / "mine.yaml"
    return Reader(path, lambda: load_config(str(path), schema=Config), dump_config(tiny_config()).encode())


def _results(root: Path) -> Reader:
    data = load_dataset(write_coco(root / "coco", {"train": toy_images(3)}), "train")
    rows = [{"image_id": 10, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    path = root / "results.json"
    return Reader(path, lambda: read_detections(path, data), json.dumps(rows).encode())


def _journal(root: Path) -> Reader:
    path = root / "journal.jsonl"
    line = {"file_name": "a.jpg", "size_hw": [4, 4], "boxes": [[0, 0, 1, 1]], "scores": [0.5], "labels": [0]}
    seed = b'{"journal": 1, "model": "m"}\n' + json.dumps(line).encode() + b"\n"

    def read() -> None:
        journal = Journal(path, {"model": "m"}, resume=True)
        try:
            list(journal)
        finally:
            journal.close()

    return Reader(path, read, seed)


def _judged(root: Path) -> Reader:
    content = BytesIO()
    np.savez(content, boxes=np.zeros((2, 4), np.float32), document=np.frombuffer(b"{}", np.uint8))
    return Reader(root / JUDGED_FILE, lambda: read_judged(root), content.getvalue())


READERS: dict[str, Callable[[Path], Reader]] = {
    "voc-xml": lambda root: _label_file(root, write_voc, "Annotations/image2.xml"),
    "voc-list": lambda root: _label_file(root, write_voc, "ImageSets/Main/train.txt"),
    "coco-json": lambda root: _label_file(root, write_coco, "annotations/instances_train.json"),
    "yolo-labels": lambda root: _label_file(root, write_yolo, "labels/train/image2.txt"),
    "yolo-yaml": lambda root: _label_file(root, write_yolo, "data.yaml"),
    "jpeg": lambda root: _image(root, "jpg"),
    "png": lambda root: _image(root, "png"),
    "tiff": lambda root: _image(root, "tif"),
    "webp": lambda root: _image(root, "webp"),
    "model": _model,
    "state": _state,
    "config": _config,
    "results": _results,
    "journal": _journal,
    "evaluation": _judged,
}
"""Name -> makes the reader below a folder."""

"""What a kind of broken input is made of."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.builders import CLASS_NAMES, random_pixels, save_image, toy_images, write_coco, write_voc, write_yolo
from tests.detection.tiny import save_tiny_model

FOUND, REFUSED = 1, 2


class Case(NamedTuple):
    """What to run after the data were broken, and what the answer must say.

    Attributes:
        arguments: Of ``multibox``; OUT stands for a new folder.
        code: Its exit code.
        file: The file that is named.
        remedy: A piece of what the user is told to do.
    """

    arguments: list[object]
    code: int
    file: str
    remedy: str


Break = Callable[[Path], Case]
"""Makes a data set below a folder, breaks it, and says what must happen."""

CASES: dict[str, Break] = {}


def kind(function: Break) -> Break:
    """Adds a kind of broken input to the table."""
    CASES[function.__name__.replace("_", " ")] = function
    return function


def voc(root: Path) -> Path:
    return write_voc(root / "voc", {"train": toy_images(3), "test": toy_images(2, prefix="test", seed=1)})


def edit_xml(root: Path, pattern: str, replacement: str, name: str = "image2") -> Path:
    """Changes the first fit of a pattern in an annotation file."""
    data = voc(root)
    path = data / f"Annotations/{name}.xml"
    changed, fits = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1)
    assert fits
    path.write_text(changed, encoding="utf-8")
    return data


def coco(root: Path, change: Callable[[dict[str, Any]], None] = lambda document: None) -> Path:
    """A COCO data set with its json changed."""
    data = write_coco(root / "coco", {"train": toy_images(3)})
    path = data / "annotations/instances_train.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return data


def yolo(root: Path) -> Path:
    return write_yolo(root / "yolo", {"train": [i for i in toy_images(3) if not any(o.ignore for o in i.objects)]})


def model_file(path: Path) -> Path:
    return save_tiny_model(path, names=CLASS_NAMES)


def photos(root: Path) -> Path:
    for number in range(2):
        save_image(root / f"photos/good{number}.jpg", random_pixels((40, 50), seed=number))
    return root / "photos"


def detect_bad_photo(root: Path, name: str, content: bytes, remedy: str) -> Case:
    """A folder of which one file is broken: the others are done."""
    folder = photos(root)
    (folder / name).write_bytes(content)
    model = model_file(root / "model.safetensors")
    return Case(["detect", model, folder, "--out", "OUT"], FOUND, name, remedy)


def hollow_png(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds a hundred bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")

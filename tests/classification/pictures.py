"""Small data sets of coloured pictures, as folders and zips."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

COLOURS = {"blue": (20, 30, 200), "green": (20, 180, 40), "red": (210, 30, 20)}


def picture(colour: tuple[int, int, int], seed: int, size_hw: tuple[int, int] = (40, 48)) -> npt.NDArray[np.uint8]:
    """A noisy plain picture, (h, w, 3) uint8."""
    noise = np.random.default_rng(seed).integers(-15, 16, (*size_hw, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file: what is decoded is what was written."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def class_files(prefix: str, count: int, *, first_seed: int = 0) -> dict[str, bytes]:
    """``prefix/CLASS/NUMBER.png`` -> bytes, ``count`` of each class."""
    return {
        f"{prefix}{name}/{number}.png": png(picture(colour, first_seed + number))
        for name, colour in COLOURS.items()
        for number in range(count)
    }


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """Writes files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Writes files into a zip."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path

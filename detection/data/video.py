"""The frames of a video file, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from detection.errors import InputError

VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv".split())

# Containers miscount a few frames: missing ones are a fault only below this share, and only if there are several.
_WHOLE_SHARE = 0.99
_MIN_MISSING = 2
_REMEDY = "save it as mp4 or its frames as images"


def is_video(path: Path) -> bool:
    """Whether a path is a video file by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def frame_name(path: Path, number: int) -> str:
    """What a frame is called, as in ``street.mp4/000041``; the first has the number 0."""
    return f"{path.name}/{number:06d}"


def count_frames(path: Path) -> int:
    """How many frames a video says it has; files that do not know or are cut short have fewer or more.

    Raises:
        InputError: If it cannot be opened or its first frame cannot be decoded.
    """
    with _opened(path) as capture:
        announced = max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if not capture.read()[0]:
            fault = f"none of its frames can be decoded, of {announced} that it says it has"
            raise InputError(f"{path}: {fault}; {_REMEDY}")
        return announced


def missing_frames(path: Path, num_announced: int, num_decoded: int) -> str | None:
    """Says which frames of a video are missing.

    Args:
        path: The video file.
        num_announced: How many frames it says it has.
        num_decoded: How many could be decoded, from the first on.

    Returns:
        The fault and what to do; None if no more are missing than containers miscount: one, or 1 %.
    """
    num_missing = num_announced - num_decoded
    if num_missing < _MIN_MISSING or num_decoded >= _WHOLE_SHARE * num_announced:
        return None
    return f"{path}: frames {num_decoded} to {num_announced - 1} could not be decoded; repair it, or {_REMEDY}"


def read_frames(
    path: Path, *, wanted: Callable[[int], bool] = lambda number: True
) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Decodes a video frame by frame.

    Args:
        path: The video file.
        wanted: Whether a frame of this number is; the others are stepped over.

    Yields:
        Name and (H, W, 3) uint8 RGB pixels of each frame, upright, in their order, up to the first that cannot be
        decoded, which of a whole file is its end.

    Raises:
        InputError: If the file cannot be opened.
    """
    with _opened(path) as capture:
        number = 0
        while capture.grab():
            if wanted(number):
                decoded, frame = capture.retrieve()
                if not decoded:
                    return
                yield frame_name(path, number), np.ascontiguousarray(frame[..., ::-1], dtype=np.uint8)
            number += 1


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(f"{path}: no video that OpenCV can decode here; {_REMEDY}")
        yield capture
    finally:
        capture.release()

"""The frames of a video file, one at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from detection.errors import InputError

VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv".split())


def is_video(path: Path) -> bool:
    """Whether a path is a video file by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def frame_name(path: Path, number: int) -> str:
    """What a frame is called, as in ``street.mp4/000041``; the first has the number 0."""
    return f"{path.name}/{number:06d}"


def count_frames(path: Path) -> int:
    """How many frames a video says it has; files that do not know or are cut short have fewer or more.

    Raises:
        InputError: If it cannot be opened.
    """
    with _opened(path) as capture:
        return max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT)))


def read_frames(path: Path, *, passed_over: Collection[str] = ()) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Decodes a video frame by frame.

    Args:
        path: The video file.
        passed_over: Names of frames that are not wanted; they are stepped over.

    Yields:
        Name and (H, W, 3) uint8 RGB pixels of each frame, upright, in their order, up to the first that cannot be
        decoded, which of a whole file is its end.

    Raises:
        InputError: If the file cannot be opened.
    """
    with _opened(path) as capture:
        number = 0
        while capture.grab():
            name = frame_name(path, number)
            number += 1
            if name in passed_over:
                continue
            decoded, frame = capture.retrieve()
            if not decoded:
                return
            yield name, np.ascontiguousarray(frame[..., ::-1], dtype=np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(f"{path}: no video that OpenCV can decode here; save it as mp4 or its frames as images")
        yield capture
    finally:
        capture.release()

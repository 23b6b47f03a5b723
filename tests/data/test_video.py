"""Frames of a video, by a small film of plain colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from detection.data.video import count_frames, is_video, read_frames
from detection.errors import InputError
from tests.builders import save_image

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def write_film(path: Path, num_frames: int = 3, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """Motion JPEG, which OpenCV writes and reads without any other library."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, size_hw[::-1])
    assert writer.isOpened()
    for number in range(num_frames):
        writer.write(np.full((*size_hw, 3), COLOURS[number % 3][::-1], np.uint8))
    writer.release()
    return path


def test_frames_in_order_as_rgb(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi")

    frames = dict(read_frames(film))

    assert count_frames(film) == 3
    assert list(frames) == ["film.avi/000000", "film.avi/000001", "film.avi/000002"]
    for frame, colour in zip(frames.values(), COLOURS, strict=True):
        assert frame.shape == (48, 64, 3)
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour, atol=6)


def test_frames_that_are_not_wanted_are_stepped_over(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi")

    (last,) = read_frames(film, passed_over={"film.avi/000000", "film.avi/000001"})

    assert last[0] == "film.avi/000002"
    np.testing.assert_allclose(last[1].mean(axis=(0, 1)), COLOURS[2], atol=6)


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film", encoding="utf-8")

    assert not is_video(save_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8)))
    assert not is_video(tmp_path / "missing.mp4")
    assert is_video(tmp_path / "text.mp4")
    with pytest.raises(InputError, match=r"text.mp4: no video that OpenCV can decode here; save it as mp4"):
        count_frames(tmp_path / "text.mp4")

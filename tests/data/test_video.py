"""Frames of a video, by a small film of plain colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from detection.data.video import count_frames, is_video, missing_frames, read_frames
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


class CutCapture:
    """What OpenCV makes of a file that announces more frames than it holds."""

    def __init__(self, num_announced: int, num_held: int) -> None:
        self.num_announced, self.num_left = num_announced, num_held

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, what: int) -> float:
        assert what == cv2.CAP_PROP_FRAME_COUNT
        return float(self.num_announced)

    def grab(self) -> bool:
        self.num_left -= 1
        return self.num_left >= 0

    def retrieve(self) -> tuple[bool, npt.NDArray[np.uint8]]:
        return True, np.zeros((48, 64, 3), np.uint8)

    def read(self) -> tuple[bool, npt.NDArray[np.uint8] | None]:
        return self.retrieve() if self.grab() else (False, None)

    def release(self) -> None:
        self.num_left = 0


def cut_film(monkeypatch: pytest.MonkeyPatch, path: Path, num_announced: int, num_held: int) -> Path:
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: CutCapture(num_announced, num_held))
    path.touch()
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

    (last,) = read_frames(film, wanted=lambda number: number == 2)

    assert last[0] == "film.avi/000002"
    np.testing.assert_allclose(last[1].mean(axis=(0, 1)), COLOURS[2], atol=6)


def test_a_video_without_a_first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = cut_film(monkeypatch, tmp_path / "film.mp4", 7, 0)

    with pytest.raises(
        InputError, match=r"film.mp4: none of its frames can be decoded, of 7 that it says it has; save it as mp4 or"
    ):
        count_frames(film)


@pytest.mark.parametrize(
    ("num_announced", "num_decoded", "missing"),
    [
        (1000, 400, "frames 400 to 999"),
        (1000, 989, "frames 989 to 999"),
        (1000, 990, None),
        (5, 3, "frames 3 to 4"),
        (5, 4, None),
        (100, 101, None),
        (0, 7, None),  # Some files do not know.
    ],
)
def test_missing_frames(num_announced: int, num_decoded: int, missing: str | None) -> None:
    fault = missing_frames(Path("a.mp4"), num_announced, num_decoded)

    remedy = "repair it, or save it as mp4 or its frames as images"
    assert fault == (None if missing is None else f"a.mp4: {missing} could not be decoded; {remedy}")


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film", encoding="utf-8")

    assert not is_video(save_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8)))
    assert not is_video(tmp_path / "missing.mp4")
    assert is_video(tmp_path / "text.mp4")
    with pytest.raises(InputError, match=r"text.mp4: no video that OpenCV can decode here; save it as mp4"):
        count_frames(tmp_path / "text.mp4")

"""Proposals of many images are made beforehand, by any number of processes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from detection.errors import InputError
from detection.preprocess import Image
from detection.regions import search_all
from proposals.structures import Proposals
from tests.builders import random_pixels, save_image


class Remembering:
    """A source that leaves a file for every image it was asked about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, image: Image) -> Proposals:
        (self.folder / f"{image.shape[1]}.txt").touch()
        return None  # type: ignore[return-value]  # not looked at


@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_that_can_be_read_is_searched(tmp_path: Path, workers: int) -> None:
    paths = [save_image(tmp_path / f"{n}.png", random_pixels((8, 10 + n))) for n in range(3)]
    paths[1].write_bytes(b"no image")
    heard = list(search_all(Remembering(tmp_path), paths, workers=workers))
    assert heard == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["10.txt", "12.txt"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_ends_the_search_with_its_reason(tmp_path: Path, workers: int) -> None:
    path = save_image(tmp_path / "a.png", random_pixels((8, 10)))
    with pytest.raises(InputError, match=r"^/kept/a.npz: .* could not be kept \(No space left on device\); make room"):
        list(search_all(full_disk, [path], workers=workers))


def full_disk(image: Image) -> Proposals:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/kept/a.npz")


def test_no_images_need_no_search() -> None:
    assert list(search_all(lambda image: pytest.fail(np.array2string(image)), [], workers=0)) == []

"""Proposals of many images are made beforehand, by any number of processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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


def test_no_images_need_no_search() -> None:
    assert list(search_all(lambda image: pytest.fail(np.array2string(image)), [], workers=0)) == []

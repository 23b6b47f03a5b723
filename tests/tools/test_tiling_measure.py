"""Large images put together of small ones hold the same objects, pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detection.data.discover import load_dataset
from detection.data.image import read_image
from tests.builders import toy_images, write_voc
from tools.measure.tiling import put_together


def test_every_object_is_where_its_pixels_are(tmp_path: Path) -> None:
    data = load_dataset(write_voc(tmp_path / "toy", {"test": toy_images(6)}), "test")
    large = put_together(data, tmp_path)
    assert [image.file_name for image in large.images] == ["1.png", "2.png"]
    objects = [(image, row) for image in data.images for row in range(len(image.boxes))]
    placed = [(image, row) for image in large.images for row in range(len(image.boxes))]
    assert len(objects) == len(placed) > 0
    for (small, row), (big, big_row) in zip(objects, placed, strict=True):
        assert small.labels[row] == big.labels[big_row]
        assert np.array_equal(_cut(small.path, small.boxes[row]), _cut(big.path, big.boxes[big_row]))


def _cut(
    path: Path, box: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    x1, y1, x2, y2 = box.round().astype(int)
    return read_image(path)[y1:y2, x1:x2]

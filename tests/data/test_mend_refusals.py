"""What no mended copy is made of, and where none is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detection.data.audit import audit_dataset
from detection.data.mend import mend_dataset
from detection.errors import InputError
from tests.builders import ToyImage, ToyObject, random_pixels, save_image, toy_images, write_coco, write_voc
from tests.data.test_mend import write_yaml_elsewhere


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("full", r"full: is not an empty folder; name a new one with --fix"),
        ("file", r"file: is not an empty folder"),
        ("data/mended", r"mended: lies in the data set itself; name a folder outside .*data with --fix"),
    ],
)
def test_refused_folders(tmp_path: Path, out: str, message: str) -> None:
    root = write_voc(tmp_path / "data", {"train": toy_images(2)})
    save_image(tmp_path / "full/a.png", random_pixels((4, 4)))
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=message):
        mend_dataset(audit_dataset(root), tmp_path / out)


@pytest.mark.parametrize(("out", "outside"), [("home/mended", "home"), ("data/images/val/x/mended", "data/images/val")])
def test_no_copy_beside_a_yaml_nor_among_its_images(tmp_path: Path, out: str, outside: str) -> None:
    path = write_yaml_elsewhere(tmp_path)

    with pytest.raises(InputError, match=rf"lies in the data set itself; name a folder outside .*{outside} with --fix"):
        mend_dataset(audit_dataset(path), tmp_path / out)
    assert not (tmp_path / out).exists()


def test_boxes_of_another_notation_are_not_cut_to_size(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", {"train": [ToyImage("a", (40, 60), (ToyObject("cat", (30, 20, 50, 35)),))]})
    path = root / "annotations/instances_train.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    document["annotations"][0]["bbox"] = [30, 20, 50, 35]
    path.write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(
        InputError, match=r"1 of 1 boxes leave .*; no copy was made; write boxes as \[x, y, width, height\]"
    ):
        mend_dataset(audit_dataset(root), tmp_path / "mended")
    assert not (tmp_path / "mended").exists()


def test_no_image_is_left(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": toy_images(1)})
    (root / "JPEGImages/image0.jpg").write_bytes(b"")

    with pytest.raises(InputError, match="no image is left to copy"):
        mend_dataset(audit_dataset(root), tmp_path / "mended")

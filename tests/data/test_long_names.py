"""Names that no file can bear: the systems' calls refuse them with an error, where a missing file is just missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detection.data.discover import load_dataset
from detection.errors import InputError
from tests.builders import SYNSETS, toy_images, write_coco, write_ilsvrc, write_voc, write_yolo

LONG = "n" * 300


def _voc(root: Path) -> Path:
    _append(write_voc(root, {"train": toy_images(3)}) / "ImageSets/Main/train.txt", LONG)
    return root


def _ilsvrc(root: Path) -> Path:
    _append(write_ilsvrc(root, {"train": toy_images(3, class_names=tuple(SYNSETS))}) / "ImageSets/DET/train.txt", LONG)
    return root


def _coco(root: Path) -> Path:
    path = write_coco(root, {"train": toy_images(3)}) / "annotations/instances_train.json"
    document = json.loads(path.read_text())
    document["images"].insert(0, {"id": 5, "file_name": f"{LONG}.jpg", "width": 9, "height": 9})
    path.write_text(json.dumps(document))
    return root


def _yolo(root: Path) -> Path:
    write_yolo(root, {"train": toy_images(3)})
    listed = [f"images/train/{name}.jpg" for name in (LONG, *(image.name for image in toy_images(3)))]
    (root / "train.txt").write_text("\n".join(listed))
    yaml = root / "data.yaml"
    yaml.write_text(yaml.read_text().replace("images/train", "train.txt"))
    return root


def _append(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}{line}\n")


@pytest.mark.parametrize("write", [_voc, _ilsvrc, _coco, _yolo])
def test_an_image_of_an_impossible_name_is_told_and_left_out(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    data = load_dataset(write(tmp_path), "train")

    assert [record.path.stem for record in data.images] == ["image0", "image1", "image2"]
    assert [finding.kind for finding in data.findings if LONG in finding.file][-1:] == ["missing-image"]


def test_a_source_of_an_impossible_name_is_an_error_that_names_it(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"train": toy_images(1)})
    (root / "data.yaml").write_text((root / "data.yaml").read_text().replace("images/train", LONG))

    with pytest.raises(InputError, match=f"no such folder or list file .*{LONG}"):
        load_dataset(root, "train")

"""The demonstration set: a valid VOC folder, the same bytes each time, nothing shared between its splits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from detection.data import demo
from detection.errors import InputError

SIZE_HW = (160, 224)


def read_boxes(annotation: Path) -> list[tuple[int, int, int, int]]:
    """Boxes of a VOC annotation as half-open xyxy."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    boxes = []
    for item in ElementTree.parse(annotation).iter("bndbox"):
        left, top, right, bottom = (int(item.findtext(corner, "")) for corner in corners)
        boxes.append((left - 1, top - 1, right, bottom))
    return boxes


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def demo_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    demo.build_demo_set(out, num_train=30, num_test=16, image_size_hw=SIZE_HW, seed=1)
    return out


def test_folder_has_the_voc_layout(demo_set: Path) -> None:
    train = (demo_set / "ImageSets/Main/trainval.txt").read_text(encoding="utf-8").split()
    test = (demo_set / "ImageSets/Main/test.txt").read_text(encoding="utf-8").split()

    assert (len(train), len(test)) == (30, 16)
    assert {file.stem for file in (demo_set / "JPEGImages").iterdir()} == {*train, *test}
    assert {file.stem for file in (demo_set / "Annotations").iterdir()} == {*train, *test}
    assert len(list((demo_set / "unlabelled").glob("*.jpg"))) == 8
    assert len(list((demo_set / "unlabelled").iterdir())) == 8


def test_annotations_fit_their_pictures(demo_set: Path) -> None:
    for file in (demo_set / "Annotations").iterdir():
        root = ElementTree.parse(file).getroot()
        picture = cv2.imread(str(demo_set / "JPEGImages" / root.findtext("filename", "")))
        assert picture is not None
        assert picture.shape == (*SIZE_HW, 3)
        assert [root.findtext(f"size/{name}") for name in ("height", "width", "depth")] == ["160", "224", "3"]
        for left, top, right, bottom in read_boxes(file):
            assert 0 <= left < right <= SIZE_HW[1]
            assert 0 <= top < bottom <= SIZE_HW[0]
        assert {item.findtext("name") for item in root.iter("object")} <= set(demo.CLASS_NAMES)


def test_annotated_boxes_start_at_one_and_include_their_last_pixel() -> None:
    scene = demo._Scene(np.zeros((20, 30, 3), np.uint8), [(0, 2, 10, 20)], [7])

    root = ElementTree.fromstring(demo._annotation("a", scene))

    assert root.findtext("object/name") == "seven"
    assert {corner.tag: corner.text for corner in root.iterfind("object/bndbox/*")} == {
        "xmin": "1",
        "ymin": "3",
        "xmax": "10",
        "ymax": "20",
    }


def test_each_15th_picture_is_empty_and_the_others_hold_up_to_twelve(demo_set: Path) -> None:
    counts = {file.stem: len(read_boxes(file)) for file in (demo_set / "Annotations").iterdir()}

    empty = sorted(stem for stem, count in counts.items() if count == 0)
    assert empty == ["test_0015", "trainval_0015", "trainval_0030"]
    assert max(counts.values()) <= 12
    assert all(count >= 3 for count in counts.values() if count)  # one of at least four may have found no place
    assert len(set(counts.values())) > 4


def test_all_classes_occur_in_training(demo_set: Path) -> None:
    names = {
        item.findtext("name")
        for file in (demo_set / "Annotations").glob("trainval_*")
        for item in ElementTree.parse(file).iter("object")
    }

    assert names == set(demo.CLASS_NAMES)


def test_digits_hardly_overlap(demo_set: Path) -> None:
    for file in (demo_set / "Annotations").iterdir():
        taken = np.zeros(SIZE_HW, dtype=int)
        for left, top, right, bottom in read_boxes(file):
            box = taken[top:bottom, left:right]
            assert (box > 0).sum() <= 7 * demo.MAX_OVERLAP * box.size
            box += 1
        assert (taken > 1).mean() < 0.05


def test_splits_share_neither_digits_nor_photographs() -> None:
    train, test, unlabelled = demo.PARTS

    assert not set(train.photographs) & {*test.photographs, *unlabelled.photographs}
    assert train.digits.stop <= test.digits.start
    assert test.digits.stop <= unlabelled.digits.start


def test_same_seed_gives_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        demo.build_demo_set(tmp_path / name, num_train=3, num_test=2, image_size_hw=SIZE_HW, seed=seed)

    first, second, other = (read_bytes(tmp_path / name) for name in "abc")

    assert first == second
    assert first.keys() == other.keys()
    assert first["JPEGImages/trainval_0001.jpg"] != other["JPEGImages/trainval_0001.jpg"]


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    demo.build_demo_set(tmp_path / "small", num_train=2, num_test=1, image_size_hw=SIZE_HW)
    demo.build_demo_set(tmp_path / "large", num_train=4, num_test=3, image_size_hw=SIZE_HW)

    small, large = read_bytes(tmp_path / "small"), read_bytes(tmp_path / "large")

    pictures = [name for name in small if name.endswith((".jpg", ".xml"))]
    assert len(pictures) == 3 + 3 + 8
    assert all(small[name] == large[name] for name in pictures)


def test_ink_reaches_all_sides_of_its_box() -> None:
    scan = np.zeros((8, 8), np.float32)
    scan[1:7, 3:5] = 1.0  # a bar, 6 by 2 cells

    ink = demo._enlarge(scan, 80.0, np.random.default_rng(0))

    assert min(ink[0].max(), ink[-1].max(), ink[:, 0].max(), ink[:, -1].max()) > 0.5
    assert 55 <= ink.shape[0] <= 75  # 6 cells of 10 pixels, turned by at most 12 degrees
    assert 15 <= ink.shape[1] <= 36
    assert ink.max() == 1.0


def test_every_scan_keeps_ink_to_draw() -> None:
    from sklearn.datasets import load_digits

    generator = np.random.default_rng(0)
    for scan in load_digits().images:
        ink = demo._enlarge((scan / 16).astype(np.float32), demo.DIGIT_SIDE[0], generator)
        assert min(ink.shape) >= 5


def test_overlap_is_the_share_of_the_smaller_box() -> None:
    assert demo._overlap((0, 0, 10, 10), (5, 5, 9, 9)) == 1.0
    assert demo._overlap((0, 0, 10, 10), (8, 8, 12, 12)) == 4 / 16
    assert demo._overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0.0
    assert demo._overlap((0, 0, 10, 10), (30, 30, 40, 40)) == 0.0


def test_missing_scikit_learn_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)

    with pytest.raises(InputError, match=r"pip install 'multibox-rcnn\[demo\]'"):
        demo.build_demo_set(tmp_path, num_train=1, num_test=1)


def test_missing_photograph_is_named() -> None:
    with pytest.raises(InputError, match=r"data/no_such\.png of the installed package skimage"):
        demo._read_photograph("skimage", "data/no_such.png")


@pytest.mark.parametrize(
    "numbers", [{"num_train": 0}, {"num_test": 0}, {"image_size_hw": (100, 320)}, {"image_size_hw": (320, 100)}]
)
def test_too_small_numbers_are_refused(tmp_path: Path, numbers: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="at least 1 picture in each split and 128 pixels"):
        demo.build_demo_set(tmp_path / "out", **numbers)

    assert not (tmp_path / "out").exists()

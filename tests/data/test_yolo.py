"""What is special about YOLO: the yaml, label files parallel to the images, shares instead of pixels, polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from configs.strict_yaml import parse_yaml
from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.data.yolo import list_splits, read_yolo, recognise
from detection.errors import InputError
from tests.builders import ToyImage, ToyObject, toy_images, write_yolo
from tests.data.contracts import assert_valid_data, only_finding

PICTURE = ToyImage("a", (40, 80), (ToyObject("cat", (20, 10, 40, 30)),))


def write_lines(root: Path, *lines: str) -> Path:
    """A data set of one 80x40 image with these label lines."""
    write_yolo(root, {"train": [PICTURE]})
    (root / "labels/train/a.txt").write_text("\n".join(lines), encoding="utf-8")
    return root


def rewrite_yaml(root: Path, **changes: Any) -> Path:
    path = root / "data.yaml"
    content = {**yaml.safe_load(path.read_text(encoding="utf-8")), **changes}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return root


def read_train(root: Path) -> DetectionData:
    data = load_dataset(root, "train")
    assert_valid_data(data)
    return data


def test_shares_become_pixels(tmp_path: Path) -> None:
    """Centre (0.375, 0.5) of 80x40 is (30, 20); size (0.25, 0.5) is 20x20."""
    data = read_train(write_lines(tmp_path, "1 0.375 0.5 0.25 0.5"))

    assert data.images[0].boxes.tolist() == [[20, 10, 40, 30]]
    assert data.images[0].labels.tolist() == [1]
    assert data.images[0].area.tolist() == [400]
    assert data.images[0].ignore.tolist() == [False]


def test_polygon_becomes_its_bounding_box(tmp_path: Path) -> None:
    data = read_train(write_lines(tmp_path, "2 0.5 0.25 0.25 0.5 0.375 0.75"))

    assert data.images[0].boxes.tolist() == [[20, 10, 40, 30]]
    assert data.findings == ()


@pytest.mark.parametrize("shape", [[2, 2], [2, 3]])
def test_keypoints_behind_a_box_are_passed_over(tmp_path: Path, shape: list[int]) -> None:
    points = " 0.3 0.3" + " 2" * (shape[1] - 2) + " 0.9 0.9" + " 1" * (shape[1] - 2)
    root = write_lines(tmp_path, "0 0.375 0.5 0.25 0.5" + points, "1 0.375 0.5 0.25 0.5", "0 0.1 0.1 0.2 0.1 0.2 0.3")

    data = read_train(rewrite_yaml(root, kpt_shape=shape))

    assert data.images[0].boxes.tolist() == [[20, 10, 40, 30]] * 2
    assert data.images[0].labels.tolist() == [0, 1]
    message = only_finding(data.findings, "bad-object").message
    assert f"has 7 values, expected class cx cy w h and {shape[0] * shape[1]} of keypoints (kpt_shape)" in message


@pytest.mark.parametrize("shape", [17, [0, 3], [17, 4], [17], "17 3"])
def test_keypoints_of_no_known_shape(tmp_path: Path, shape: object) -> None:
    with pytest.raises(InputError, match=r"data\.yaml: kpt_shape is .*; write \[points, 2\] or \[points, 3\]"):
        load_dataset(rewrite_yaml(write_lines(tmp_path), kpt_shape=shape), "train")


def test_class_number_with_a_decimal_point_and_blank_lines(tmp_path: Path) -> None:
    data = read_train(write_lines(tmp_path, "", "2.0  0.375\t0.5 0.25 0.5", "   ", ""))

    assert data.images[0].labels.tolist() == [2]
    assert data.findings == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.25", "has 4 values, expected class cx cy w h or a class and a polygon of 3 or more points"),
        ("1 0.5 0.5 0.25 0.25 0.9", "has 6 values, expected"),
        ("1 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "has 8 values, expected"),
        ("1", "has 1 values, expected"),
        ("cat 0.5 0.5 0.25 0.25", "is 'cat 0.5 0.5 0.25 0.25', expected numbers: class cx cy w h"),
        ("7 0.5 0.5 0.25 0.25", "has class 7, expected one of 0, 1, 2"),
        ("-1 0.5 0.5 0.25 0.25", "has class -1, expected one of 0, 1, 2"),
        ("0.5 0.5 0.5 0.25 0.25", "has class 0.5, expected one of 0, 1, 2"),
        ("nan 0.5 0.5 0.25 0.25", "has class nan, expected one of 0, 1, 2"),
    ],
)
def test_line_that_cannot_be_used_is_left_out(tmp_path: Path, line: str, message: str) -> None:
    data = read_train(write_lines(tmp_path, "0 0.375 0.5 0.25 0.5", line, "1 0.375 0.5 0.5 0.5"))

    assert data.images[0].labels.tolist() == [0, 1]
    finding = only_finding(data.findings, "bad-object")
    assert str(finding).startswith(f"labels/train/a.txt: line 2 {message}")
    assert finding.remedy == "correct or delete it; left out"


def test_faulty_box_is_told_as_written(tmp_path: Path) -> None:
    data = read_train(write_lines(tmp_path, "0 0.375 0.5 0.25 0.5", "1 0.5 0.5 0 0.25", "1 0.5 inf 0.1 0.1"))

    assert [finding.kind for finding in data.findings] == ["degenerate-box", "non-finite-box"]
    assert data.findings[0].message.startswith("line 2 of images/train/a.jpg has cx 0.5, cy 0.5, w 0, h 0.25, which")


def test_pixels_instead_of_shares_are_suspected(tmp_path: Path) -> None:
    data = read_train(write_lines(tmp_path, "1 30 20 20 20", "1 40 20 20 20"))

    finding = next(finding for finding in data.findings if finding.kind == "misread-boxes")
    assert "2 of 2 boxes leave their image as [cx, cy, w, h] but fit as [cx px, cy px, w px, h px]" in finding.message


def test_label_file_that_is_no_text(tmp_path: Path) -> None:
    root = write_lines(tmp_path)
    (root / "labels/train/a.txt").write_bytes(bytes(range(128, 256)))

    assert only_finding(read_train(root).findings, "bad-object").file == "labels/train/a.txt"


def test_images_without_label_file_are_empty_and_told_once(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"train": toy_images(4)})
    for name in ("image2", "image3"):
        (root / f"labels/train/{name}.txt").unlink()

    data = read_train(root)

    assert [len(image.boxes) for image in data.images] == [3, 0, 0, 0]
    finding = only_finding(data.findings, "no-label-file")
    assert finding.message == "2 images have no label file: images/train/image2.jpg, images/train/image3.jpg"


def test_label_files_without_an_image_are_told_once(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"train": toy_images(3), "val": toy_images(2, prefix="val")})
    (root / "images/train/image0.jpg").unlink()
    (root / "labels/train/classes.txt").write_text("cat", encoding="utf-8")

    finding = only_finding(read_train(root).findings, "missing-image")

    assert str(finding) == (
        "labels/train/image0.txt: 1 label files have no image: labels/train/image0.txt; "
        "add the images; their objects are left out"
    )


def test_names_as_a_mapping_keep_their_numbers(tmp_path: Path) -> None:
    root = rewrite_yaml(write_lines(tmp_path, "7 0.375 0.5 0.25 0.5"), names={7: "dog", 0: "cat"})

    data = read_train(root)

    assert data.class_names == ("cat", "dog")
    assert data.category_ids == (0, 7)
    assert data.images[0].labels.tolist() == [1]


def test_given_class_names_are_matched_by_name(tmp_path: Path) -> None:
    data = load_dataset(write_lines(tmp_path, "1 0.375 0.5 0.25 0.5"), "train", ("cat", "dog"))

    assert data.images[0].labels.tolist() == [0]
    assert data.category_ids == (1, 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "'names' is None; list the class names"),
        ("cat", "'names' is 'cat'; list the class names"),
        ({"cat": 0}, "'names' is {'cat': 0}; list the class names, or map class numbers to them"),
        (["cat", "cat"], "class name cat stands more than once"),
        ([], "names no class"),
        ([["cat"], "dog"], "'names' has ['cat'], expected a name"),
    ],
)
def test_class_names_that_cannot_be_used(tmp_path: Path, names: object, message: str) -> None:
    root = rewrite_yaml(write_lines(tmp_path), names=names)

    with pytest.raises(InputError) as caught:
        load_dataset(root, "train")

    assert str(caught.value).startswith(f"{root / 'data.yaml'}: {message}")


def test_count_that_differs_from_the_names(tmp_path: Path) -> None:
    finding = only_finding(read_train(rewrite_yaml(write_lines(tmp_path), nc=5)).findings, "class-count")

    assert str(finding) == "data.yaml: nc is 5, but there are 3 names; correct one of them; the names count"


@pytest.mark.parametrize("text", ["names: [a", "a: !!python/object/apply:os.system ['true']", "\0", "a: 2024-30-11"])
def test_broken_or_dangerous_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"data\.yaml: not valid yaml"):
        load_dataset(tmp_path, "train")


@pytest.mark.parametrize("key", ["names: ", "names: [c]\ntrain: ", "names: [c]\npath: ", "names: [c]\nnc: "])
def test_yaml_whose_aliases_grow_makes_no_long_message(tmp_path: Path, key: str) -> None:
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 6)]
    (tmp_path / "data.yaml").write_text("\n".join([*bomb, f"{key}[*a5]", "val: ."]), encoding="utf-8")

    try:
        told = str(load_dataset(tmp_path, "val").findings)
    except InputError as error:
        told = str(error)

    assert len(told) < 1000


def test_splits_are_those_of_the_yaml(tmp_path: Path) -> None:
    root = rewrite_yaml(write_lines(tmp_path), test="", val="images/train")

    assert list_splits(root) == ("train", "val")
    assert recognise(root) == "YOLO: has data.yaml with class names"


def test_folder_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("lr: 1", encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("names [", encoding="utf-8")

    with pytest.raises(InputError, match=r"not a YOLO data set; expected data\.yaml with 'names'"):
        read_yolo(tmp_path, "train")


def test_boxes_survive_the_way_through_the_format(tmp_path: Path) -> None:
    images = toy_images(3, seed=5)

    data = read_train(write_yolo(tmp_path, {"train": images}))

    for record, image in zip(data.images, images, strict=True):
        expected = np.array([item.box for item in image.objects], np.float32).reshape(-1, 4)
        np.testing.assert_allclose(record.boxes, expected, atol=1e-5)


def test_a_label_file_that_cannot_be_read_costs_its_image_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_yolo(tmp_path, {"train": toy_images(3)})
    unread = sorted(root.rglob("labels/**/*.txt"))[1]
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path == unread:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    data = load_dataset(root, "train")
    assert [image.path.stem for image in data.images] == ["image0", "image2"]
    assert data.unreadable == {2}  # a result for it is no result for an unknown image
    (finding,) = data.findings
    assert (finding.kind, finding.message) == ("unreadable-label", "Permission denied")
    assert finding.file.endswith(f"{unread.stem}.txt")


@pytest.mark.parametrize("value", ["!!bool maybe", '!!int ""', "!!timestamp x", "[" * 3000])
def test_odd_tags_are_answered_in_words(tmp_path: Path, value: str) -> None:
    (tmp_path / "data.yaml").write_text(f"names: [cat]\ntrain: images\nnc: {value}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.yaml: not valid yaml"):
        list_splits(tmp_path)
    _, faults = parse_yaml(f"train: {value}", "mine.yaml")
    assert len(faults) == 1
    assert faults[0].startswith("mine.yaml: ")


def test_a_label_file_that_is_a_folder_is_not_taken_for_none(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"train": toy_images(3)})
    label = sorted(root.rglob("labels/**/*.txt"))[1]
    label.unlink()
    label.mkdir()
    data = load_dataset(root, "train")
    assert [image.path.stem for image in data.images] == ["image0", "image2"]
    assert [(finding.kind, finding.message) for finding in data.findings] == [("unreadable-label", "is no file")]

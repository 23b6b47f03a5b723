"""The same content in three formats is the same data, and what is said of all formats holds for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.errors import InputError
from tests.builders import CLASS_NAMES, ToyImage, ToyObject, toy_images, write_coco, write_voc, write_yolo
from tests.data.contracts import assert_valid_data, only_finding

Writer = Callable[[Path, Mapping[str, Sequence[ToyImage]]], Path]
WRITERS: tuple[Writer, ...] = (write_voc, write_coco, write_yolo)
IMAGE_FOLDERS = {"write_voc": "JPEGImages", "write_coco": "train", "write_yolo": "images/train"}

every_format = pytest.mark.parametrize("write", WRITERS)


def image_folder(root: Path, write: Writer) -> Path:
    return root / IMAGE_FOLDERS[write.__name__]


def one_image(*objects: ToyObject, size_hw: tuple[int, int] = (40, 60)) -> dict[str, list[ToyImage]]:
    return {"train": [ToyImage("a", size_hw, objects)]}


def read_one(tmp_path: Path, write: Writer, *objects: ToyObject) -> DetectionData:
    """Writes one image of 60x40 pixels with these objects and reads it."""
    data = load_dataset(write(tmp_path, one_image(*objects)), "train", CLASS_NAMES)
    assert_valid_data(data)
    return data


@every_format
def test_content_comes_back(tmp_path: Path, write: Writer) -> None:
    images = toy_images(5)

    data = load_dataset(write(tmp_path, {"train": images}), "train")

    assert_valid_data(data)
    assert data.findings == ()
    assert data.class_names == CLASS_NAMES
    assert [record.size_hw for record in data.images] == [image.size_hw for image in images]
    for record, image in zip(data.images, images, strict=True):
        assert record.path.stem == image.name
        assert [CLASS_NAMES[label] for label in record.labels] == [item.name for item in image.objects]
        expected = np.array([item.box for item in image.objects], np.float32).reshape(-1, 4)
        np.testing.assert_allclose(record.boxes, expected, atol=1e-4)
        np.testing.assert_allclose(record.area, np.prod(expected[:, 2:] - expected[:, :2], axis=1), rtol=1e-5)
        if write is not write_yolo:  # YOLO has no word for it.
            assert record.ignore.tolist() == [item.ignore for item in image.objects]


@every_format
def test_images_without_objects_are_kept(tmp_path: Path, write: Writer) -> None:
    data = read_one(tmp_path, write)

    assert data.findings == ()
    assert [len(image.boxes) for image in data.images] == [0]


@every_format
def test_given_class_names_fix_the_labels(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, one_image(ToyObject("dog", (0, 0, 10, 10)), ToyObject("bird", (5, 5, 20, 20))))

    data = load_dataset(root, "train", ("dog", "horse", "bird", "cat"))

    assert data.class_names == ("dog", "horse", "bird", "cat")
    assert data.images[0].labels.tolist() == [0, 2]
    assert data.findings == ()


@every_format
def test_unknown_class_is_an_error_that_helps(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, one_image(ToyObject("bird", (0, 0, 9, 9)), ToyObject("dog", (5, 5, 20, 20))))

    with pytest.raises(InputError) as caught:
        load_dataset(root, "train", ("bird", "Dogs", "horse"))

    assert re.search(
        r"(a\.xml|instances_train\.json|a\.txt): (object|annotation|line) 2 of (images/train/)?a\.jpg has the class "
        r"'dog', which is none of bird, Dogs, horse; nearest: 'Dogs'; "
        r"correct the names, or leave such objects out with --drop-unknown$",
        str(caught.value),
    )


@every_format
def test_all_unknown_classes_are_named_at_once(tmp_path: Path, write: Writer) -> None:
    names = ("bird", "cat", "dog")
    root = write(tmp_path, one_image(*(ToyObject(name, (i, i, i + 9.0, i + 9.0)) for i, name in enumerate(names))))
    with pytest.raises(InputError, match=r"has the class 'bird', which is none of owl; nor are 'cat', 'dog'; correct"):
        load_dataset(root, "train", ("owl",))


@every_format
def test_unknown_class_can_be_dropped_with_a_finding(tmp_path: Path, write: Writer) -> None:
    birds = [ToyObject("bird", (i, i, i + 9.0, i + 9.0)) for i in range(3)]
    root = write(tmp_path, one_image(*birds, ToyObject("dog", (5, 5, 20, 20))))

    data = load_dataset(root, "train", ("dog",), "drop")

    assert_valid_data(data)
    assert data.images[0].boxes.tolist() == [[5, 5, 20, 20]]
    finding = only_finding(data.findings, "unknown-class")
    assert "1 of" in finding.message
    assert "has the class 'bird', as have 2 more objects, which is none of dog" in finding.message
    assert "nearest" not in finding.message
    assert finding.remedy == "correct the name; left out"


@pytest.mark.parametrize(
    ("box", "kind", "clipped"),
    [
        ((20, 10, 20, 30), "degenerate-box", None),
        ((30, 10, 20, 30), "degenerate-box", None),
        ((10, 30, 20, 30), "degenerate-box", None),
        ((60, 0, 80, 20), "outside-box", None),
        ((-20, 5, 0, 20), "outside-box", None),
        ((5, 40, 20, 45), "outside-box", None),
        ((10, 10, 10.5, 30), "tiny-box", (10, 10, 10.5, 30)),
        ((59.5, 10, 70, 30), "tiny-box", (59.5, 10, 60, 30)),
        ((-5, 10, 20, 30), "clipped-box", (0, 10, 20, 30)),
        ((10, 10, 65, 44), "clipped-box", (10, 10, 60, 40)),
        ((-1, -1, 61, 41), None, (0, 0, 60, 40)),
        ((-0.5, 3, 60.5, 30), None, (0, 3, 60, 30)),
        ((10, 10, 11, 11), None, (10, 10, 11, 11)),
        ((0, 0, 60, 40), None, (0, 0, 60, 40)),
    ],
)
@every_format
def test_box_faults(
    tmp_path: Path,
    write: Writer,
    box: tuple[float, float, float, float],
    kind: str | None,
    clipped: tuple[float, float, float, float] | None,
) -> None:
    good = [ToyObject("cat", (1, 1, 1 + i, 30)) for i in range(9, 17)]  # Enough for the faulty box to be a rarity.

    data = read_one(tmp_path, write, *good, ToyObject("dog", box))

    boxes = data.images[0].boxes
    expected = [item.box for item in good] + ([clipped] if clipped else [])
    np.testing.assert_allclose(boxes, np.array(expected), atol=1e-4)
    if kind is None:
        assert data.findings == ()
    else:
        finding = only_finding(data.findings, kind)
        assert re.match(r"(object|annotation|line) 9 of \S*a\.jpg has ", finding.message)
        assert finding.message.endswith("(width 60, height 40)")
        assert finding.remedy.endswith("clipped to the image" if clipped else "left out")


@every_format
def test_exact_duplicates_are_left_out_but_near_ones_kept(tmp_path: Path, write: Writer) -> None:
    box = (4, 4, 20, 20)
    objects = [ToyObject("cat", box), ToyObject("dog", box), ToyObject("cat", (4, 4, 20, 21)), ToyObject("cat", box)]

    data = read_one(tmp_path, write, *objects)

    assert data.images[0].labels.tolist() == [1, 2, 1]
    finding = only_finding(data.findings, "duplicate-box")
    assert re.search(r"(object|annotation|line) 4 of \S*a\.jpg repeats (object|annotation|line) 1: ", finding.message)
    assert finding.remedy == "delete one of them; left out"


@pytest.mark.parametrize("write", [write_voc, write_coco])
def test_a_box_and_an_ignored_one_at_its_place_are_no_duplicates(tmp_path: Path, write: Writer) -> None:
    item = ToyObject("cat", (4, 4, 20, 20))

    data = read_one(tmp_path, write, item, item._replace(ignore=True))

    assert data.images[0].ignore.tolist() == [False, True]
    assert data.findings == ()


@every_format
def test_equal_boxes_in_two_images_are_no_duplicates(tmp_path: Path, write: Writer) -> None:
    objects = (ToyObject("cat", (4, 4, 20, 20)),)
    images = [ToyImage("a", (40, 60), objects), ToyImage("b", (40, 60), objects)]

    data = load_dataset(write(tmp_path, {"train": images}), "train")

    assert [len(image.boxes) for image in data.images] == [1, 1]
    assert data.findings == ()


@every_format
def test_unreadable_image_is_left_out_with_its_reason(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, {"train": toy_images(3)})
    (image_folder(root, write) / "image0.jpg").write_text("not found", encoding="utf-8")

    data = load_dataset(root, "train")

    assert_valid_data(data)
    assert [image.path.stem for image in data.images] == ["image1", "image2"]
    assert data.images[1].labels.tolist() == [0, 1, 2]
    finding = only_finding(data.findings, "unreadable-image")
    assert finding.file == f"{IMAGE_FOLDERS[write.__name__]}/image0.jpg"
    assert finding.message.startswith("not an image: starts with b'not found'")
    assert str(root) not in str(finding)


@every_format
def test_missing_image_is_left_out(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, {"train": toy_images(3)})
    if write is write_yolo:  # Its folders list only what is there.
        (root / "list.txt").write_text("".join(f"./images/train/image{i}.jpg\n" for i in range(3)), encoding="utf-8")
        text = (root / "data.yaml").read_text(encoding="utf-8")
        (root / "data.yaml").write_text(text.replace("images/train", "list.txt"), encoding="utf-8")
    (image_folder(root, write) / "image1.jpg").unlink()

    data = load_dataset(root, "train")

    assert_valid_data(data)
    assert [image.path.stem for image in data.images] == ["image0", "image2"]
    assert "left out" in only_finding(data.findings, "missing-image").remedy


@pytest.mark.parametrize("write", [write_voc, write_coco])
def test_label_size_that_fits_only_before_the_exif_turn(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, {"train": toy_images(1)})  # 64x40 pixels as stored.
    path = image_folder(root, write) / "image0.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.open(path).save(path, exif=exif)

    data = load_dataset(root, "train")

    assert data.images[0].size_hw == (64, 40)
    finding = next(finding for finding in data.findings if finding.kind == "size-mismatch")
    assert finding.message == (
        "says image0.jpg is 64x40 (width x height), the file is 40x64: 64x40 is its size before the EXIF orientation 6 "
        "is applied"
    )
    assert finding.remedy.startswith("label the upright image, or remove the EXIF orientation")


@pytest.mark.parametrize("write", [write_voc, write_coco])
def test_label_size_that_does_not_fit(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, {"train": [ToyImage("a", (40, 60))]})
    path = image_folder(root, write) / "a.jpg"
    Image.open(path).resize((30, 20)).save(path)

    finding = only_finding(load_dataset(root, "train").findings, "size-mismatch")

    assert finding.message == "says a.jpg is 60x40 (width x height), the file is 30x20"


@every_format
def test_empty_split_is_an_error(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, {"train": toy_images(1), "val": []})

    with pytest.raises(InputError, match="val"):
        load_dataset(root, "val")


@every_format
def test_missing_split_tells_which_there_are(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, {"train": toy_images(1), "val": toy_images(1, prefix="other")})

    with pytest.raises(InputError, match=r"split 'test'.*; choose one of: train, val(, all)?; name one with --split$"):
        load_dataset(root, "test")


@every_format
def test_unicode_names(tmp_path: Path, write: Writer) -> None:
    objects = (ToyObject("Vögel & Co", (4, 4, 20, 20)),)
    images = {"train": [ToyImage("Größe 画像", (40, 60), objects)]}
    names = ("Vögel & Co",)
    if write is write_voc:
        write_voc(tmp_path, images)
    elif write is write_coco:
        write_coco(tmp_path, images, {names[0]: 3})
    else:
        write_yolo(tmp_path, images, names)

    data = load_dataset(tmp_path, "train")

    assert_valid_data(data)
    assert data.class_names == names
    assert data.images[0].labels.tolist() == [0]


@every_format
def test_where_all_images_are_left_out_the_findings_remain(tmp_path: Path, write: Writer) -> None:
    root = write(tmp_path, {"train": toy_images(2)})
    for path in image_folder(root, write).iterdir():
        path.write_bytes(b"")

    data = load_dataset(root, "train")

    assert data.images == ()
    assert [finding.message for finding in data.findings] == ["0 bytes; copy or export the file again"] * 2

"""What is special about VOC: 1-based inclusive boxes, difficult objects, lists of names, xml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.data.voc import NOTATION, list_splits, read_voc, recognise
from detection.errors import InputError
from proposals.box_ops import paired_iou
from tests.builders import ToyImage, ToyObject, random_boxes, toy_images, voc_xml, write_pixels, write_voc
from tests.data.contracts import assert_valid_data, only_finding

BOX = ToyObject("cat", (4, 4, 20, 20))
PICTURE = ToyImage("a", (40, 60), (BOX, ToyObject("dog", (1, 2, 30, 40))))


def write_one(root: Path, xml: str | bytes) -> Path:
    """A data set of one 60x40 image with this annotation file."""
    write_voc(root, {"train": [PICTURE]})
    (root / "Annotations/a.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    return root


def corners_xml(*corners: object, name: str = "<name>cat</name>", extra: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=False)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<annotation><object>{name}{extra}<bndbox>{box}</bndbox></object></annotation>"


def read_train(root: Path) -> DetectionData:
    data = load_dataset(root, "train")
    assert_valid_data(data)
    return data


def test_box_enters_one_less_at_its_top_left(tmp_path: Path) -> None:
    """xmin 1 is the first pixel column and xmax 60 the last of 60, both counted."""
    data = read_train(write_one(tmp_path, corners_xml(1, 1, 60, 40)))

    assert data.images[0].boxes.tolist() == [[0, 0, 60, 40]]
    assert data.images[0].area.tolist() == [2400]
    assert data.findings == ()


def test_box_of_one_pixel(tmp_path: Path) -> None:
    data = read_train(write_one(tmp_path, corners_xml(7, 9, 7, 9)))

    assert data.images[0].boxes.tolist() == [[6, 8, 7, 9]]
    assert data.findings == ()


def test_fractions_are_kept(tmp_path: Path) -> None:
    data = read_train(write_one(tmp_path, corners_xml("1.5", " 2.25\n", 20, "30.75")))

    assert data.images[0].boxes.tolist() == [[0.5, 1.25, 20, 30.75]]


def voc_iou(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """IoU of two inclusive boxes as the VOC devkit computes it, with + 1."""
    width = min(first[2], second[2]) - max(first[0], second[0]) + 1
    height = min(first[3], second[3]) - max(first[1], second[1]) + 1
    inter = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (first, second)]
    return float(inter / (sum(areas) - inter))


@given(seed=st.integers(0, 10_000))
def test_plain_iou_of_entered_boxes_is_the_iou_of_voc(seed: int) -> None:
    written = np.add(random_boxes(np.random.default_rng(seed), 2, (30, 40)), [1, 1, 0, 0])

    entered = torch.from_numpy(NOTATION.to_xyxy(written, np.full((2, 2), 50)))

    assert paired_iou(entered[0], entered[1]).item() == pytest.approx(voc_iou(*written), abs=1e-12)


def test_difficult_is_ignored(tmp_path: Path) -> None:
    objects = (BOX._replace(ignore=True), ToyObject("dog", (1, 2, 30, 40)))
    data = read_train(write_voc(tmp_path, {"train": [PICTURE._replace(objects=objects)]}))

    assert data.images[0].ignore.tolist() == [True, False]


@pytest.mark.parametrize("text", ["", "<difficult/>", "<difficult>Unspecified</difficult>", "<difficult>0</difficult>"])
def test_only_1_means_difficult(tmp_path: Path, text: str) -> None:
    data = read_train(write_one(tmp_path, corners_xml(1, 1, 9, 9, extra=text)))

    assert data.images[0].ignore.tolist() == [False]


def test_classes_are_those_of_the_split_alone(tmp_path: Path) -> None:
    only_dogs = ToyImage("b", (40, 60), (ToyObject("dog", (1, 2, 30, 40)),))
    root = write_voc(tmp_path, {"train": [only_dogs], "test": [PICTURE]})

    assert read_train(root).class_names == ("dog",)
    with pytest.raises(InputError, match=r"Annotations/a.xml: object 1 of a.jpg has the class 'cat'.*none of dog"):
        load_dataset(root, "test", read_train(root).class_names)


def test_category_ids_follow_the_names(tmp_path: Path) -> None:
    data = load_dataset(write_voc(tmp_path, {"train": [PICTURE]}), "train", ("horse", "dog", "cat"))

    assert data.category_ids == (1, 2, 3)
    assert data.images[0].labels.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (corners_xml(1, 2, 30), "object 1 ('cat') has no <ymax>"),
        (corners_xml(1, "abc", 30, 40), "object 1 ('cat') has ymin 'abc', expected a number"),
        (corners_xml(1, 2, 30, 40, name=""), "object 1 has no <name>"),
        (corners_xml(1, 2, 30, 40, name="<name> </name>"), "object 1 has no <name>"),
        ("<annotation><object><name>cat</name></object></annotation>", "object 1 ('cat') has no <xmin>"),
    ],
)
def test_object_that_cannot_be_used_is_left_out(tmp_path: Path, xml: str, message: str) -> None:
    good = "<object><name>dog</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    data = read_train(write_one(tmp_path, xml.replace("</annotation>", f"{good}</annotation>")))

    assert data.images[0].boxes.tolist() == [[1, 2, 9, 9]]
    finding = only_finding(data.findings, "bad-object")
    assert str(finding) == f"Annotations/a.xml: {message}; correct or delete it; left out"


def test_degenerate_box_is_told_as_written(tmp_path: Path) -> None:
    data = read_train(write_one(tmp_path, corners_xml(52, 10, 40, 35)))

    finding = only_finding(data.findings, "degenerate-box")
    assert str(finding) == (
        "Annotations/a.xml: object 1 of a.jpg has xmin 52, ymin 10, xmax 40, ymax 35, which has no width or height "
        "(width 60, height 40); correct or delete it; left out"
    )


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_non_finite_box_is_left_out(tmp_path: Path, value: str) -> None:
    data = read_train(write_one(tmp_path, corners_xml(1, 2, value, 30)))

    assert "which is not finite" in only_finding(data.findings, "non-finite-box").message
    assert len(data.images[0].boxes) == 0


@pytest.mark.parametrize("xml", ["", "<annotation>\n<object>\n</annotation>", "\0\1\2", "plain text"])
def test_malformed_xml_leaves_its_image_out(tmp_path: Path, xml: str) -> None:
    root = write_one(tmp_path, xml)

    data = read_train(root)

    assert data.images == ()
    finding = only_finding(data.findings, "unreadable-label")
    assert finding.file == "Annotations/a.xml"
    assert "malformed xml (" in finding.message
    assert finding.message.startswith("line 3: " if "object" in xml else "line 1: ")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entity_bomb_is_refused(tmp_path: Path, encoding: str) -> None:
    levels = "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10}">\n' for i in range(1, 12))
    xml = f'<?xml version="1.0" encoding="{encoding}"?>\n<!DOCTYPE a [\n<!ENTITY b0 "boom">\n{levels}]>\n'
    root = write_one(tmp_path, (xml + "<annotation><filename>&b11;</filename></annotation>").encode(encoding))

    data = read_train(root)

    assert data.images == ()
    assert "declares a document type or entities, which is refused" in data.findings[0].message


def test_external_entity_reads_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    xml = f'<!DOCTYPE a [<!ENTITY s SYSTEM "file://{tmp_path}/secret.txt">]>' + corners_xml(
        1, 1, 9, 9, name="<name>&s;</name>"
    )

    data = read_train(write_one(tmp_path, xml))

    assert data.class_names == ()
    only_finding(data.findings, "unreadable-label")


def test_unknown_encoding_is_a_finding(tmp_path: Path) -> None:
    data = read_train(write_one(tmp_path, b'<?xml version="1.0" encoding="no-such"?><annotation/>'))

    assert "line 1: " in only_finding(data.findings, "unreadable-label").message


def test_parts_of_an_object_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>"

    data = read_train(write_one(tmp_path, corners_xml(1, 1, 30, 30, extra=part)))

    assert data.class_names == ("cat",)
    assert data.images[0].boxes.tolist() == [[0, 0, 30, 30]]


def test_image_without_annotation_file_counts_as_empty(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(3)})
    (root / "Annotations/image2.xml").unlink()

    data = read_train(root)

    assert [len(image.boxes) for image in data.images] == [3, 0, 0]
    finding = only_finding(data.findings, "no-label-file")
    assert str(finding).startswith("Annotations/image2.xml: no label file; ")
    assert finding.remedy.endswith("counted as an image without objects")


def test_listed_name_with_neither_image_nor_annotation(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(2)})
    (root / "ImageSets/Main/train.txt").write_text("image0\nnothing\nimage1\n", encoding="utf-8")

    data = read_train(root)

    assert [image.image_id for image in data.images] == [1, 3]
    assert data.unreadable == {2}
    finding = only_finding(data.findings, "missing-image")
    assert finding.message == "its image is missing: in JPEGImages/ there is no 'nothing' with an image suffix"


def test_image_is_found_with_another_suffix_or_by_its_filename(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(2)})
    (root / "JPEGImages/image0.jpg").rename(root / "JPEGImages/image0.JPEG")
    (root / "JPEGImages/image1.jpg").rename(root / "JPEGImages/photo.jpg")
    xml = (root / "Annotations/image1.xml").read_text(encoding="utf-8")
    (root / "Annotations/image1.xml").write_text(xml.replace("image1.jpg", "photo.jpg"), encoding="utf-8")

    data = read_train(root)

    assert [image.file_name for image in data.images] == ["image0.JPEG", "photo.jpg"]
    assert data.findings == ()


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/secret.jpg", "C:\\\\secret.jpg", "..\\..\\secret.jpg"])
def test_filename_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    write_pixels(tmp_path, [ToyImage("secret", (40, 60))])
    root = tmp_path / "inner/data"
    write_one(root, voc_xml(PICTURE).replace("a.jpg", name))
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/b.jpg")

    data = read_train(root)

    assert data.images == ()
    assert [finding.kind for finding in data.findings] == ["unsafe-name", "missing-image"]
    assert "leads out of the data folder" in data.findings[0].message
    assert data.findings[0].message.startswith("<filename> '")


def test_listed_name_that_leads_out_of_the_folder_is_left_out(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": [PICTURE]})
    root = write_voc(tmp_path / "inner", {"train": toy_images(1)})
    (root / "ImageSets/Main/train.txt").write_text("../../Annotations/a\nimage0\n", encoding="utf-8")

    data = read_train(root)

    assert [image.file_name for image in data.images] == ["image0.jpg"]
    finding = only_finding(data.findings, "unsafe-name")
    assert str(finding).startswith("ImageSets/Main/train.txt: '../../Annotations/a' leads out of the data folder; ")


@pytest.mark.parametrize("split", ["../val", "/etc/passwd", ""])
def test_split_that_leads_out_of_the_folder(tmp_path: Path, split: str) -> None:
    root = write_voc(tmp_path, {"train": [PICTURE]})
    (root / "ImageSets/val.txt").write_text("a\n", encoding="utf-8")

    with pytest.raises(InputError, match=r"no split '.*' in ImageSets/Main/; choose one of: train, all; name one"):
        load_dataset(root, split)


def test_name_listed_twice_is_used_once(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(2)})
    (root / "ImageSets/Main/train.txt").write_text("image0\nimage1\nimage0\n", encoding="utf-8")

    data = read_train(root)

    assert [image.file_name for image in data.images] == ["image0.jpg", "image1.jpg"]
    assert only_finding(data.findings, "duplicate-image").message == "lists image0 more than once"


def test_second_column_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(3)})
    text = "\ufeffimage0  1\r\n\r\nimage1 -1\r\nimage2  0\r\n"
    (root / "ImageSets/Main/train.txt").write_text(text, encoding="utf-8")

    assert [image.file_name for image in read_train(root).images] == ["image0.jpg", "image1.jpg", "image2.jpg"]


def test_lists_of_one_class_are_no_splits(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": [PICTURE], "val": [], "cat_train": [], "cat_val": [], "my_test": []})

    assert list_splits(root) == ("my_test", "train", "val")


def test_without_lists_there_is_the_split_of_everything(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(3)})
    (root / "ImageSets/Main/train.txt").unlink()

    assert list_splits(root) == ("all",)
    assert len(load_dataset(root, "all").images) == 3
    with pytest.raises(InputError, match="no split 'train' in ImageSets/Main/; choose one of: all; name one"):
        load_dataset(root, "train")


def test_all_takes_listed_and_unlisted_annotations(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(2), "val": [PICTURE]})

    assert [image.path.stem for image in load_dataset(root, "all").images] == ["a", "image0", "image1"]


def test_folders_called_annotations_and_images(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(2)})
    (root / "Annotations").rename(root / "annotations")
    (root / "JPEGImages").rename(root / "images")

    assert len(read_train(root).images) == 2
    assert recognise(root) == "VOC: has annotations/*.xml and ImageSets/Main/"


def test_folder_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a VOC data set; expected Annotations/\*.xml"):
        read_voc(tmp_path, "train")


def test_an_annotation_that_cannot_be_read_costs_its_image_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_voc(tmp_path, {"train": toy_images(3)})
    unread = root / "Annotations/image1.xml"
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path == unread:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    data = load_dataset(root, "train")
    assert [image.path.stem for image in data.images] == ["image0", "image2"]
    (finding,) = data.findings
    assert finding.kind == "unreadable-label"
    assert "Permission denied" in finding.message


def test_what_only_looks_like_a_file_of_another_format_is_in_nobodys_way(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(2)})
    (root / "x.json").symlink_to(root / "gone.json")
    (root / "y.yaml").mkdir()
    assert len(load_dataset(root, "train").images) == 2


def test_an_annotation_that_is_no_file_is_not_taken_for_none(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(3)})
    (root / "Annotations/image1.xml").unlink()
    (root / "Annotations/image1.xml").symlink_to(root / "gone.xml")
    data = load_dataset(root, "train")
    assert [image.path.stem for image in data.images] == ["image0", "image2"]
    assert [(finding.kind, finding.message) for finding in data.findings] == [("unreadable-label", "is no file")]

"""Where VOC's xml files and images lie, and how lists name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.data.discover import find_format, load_dataset
from detection.data.records import DetectionData
from detection.data.voc import list_splits, recognise
from detection.errors import InputError
from tests.builders import ToyImage, ToyObject, toy_images, voc_xml, write_coco, write_pixels, write_voc
from tests.data.contracts import assert_valid_data, only_finding


def write_side_by_side(folder: Path, images: list[ToyImage]) -> Path:
    """Each xml beside its image."""
    write_pixels(folder, images)
    for image in images:
        (folder / f"{image.name}.xml").write_text(voc_xml(image), encoding="utf-8")
    return folder


def read(root: Path, split: str) -> DetectionData:
    data = load_dataset(root, split)
    assert_valid_data(data)
    return data


@pytest.mark.parametrize("column", ["", "  1"])
def test_list_with_file_names(tmp_path: Path, column: str) -> None:
    root = write_voc(tmp_path, {"train": toy_images(3)})
    lines = "".join(f"image{i}.{suffix}{column}\n" for i, suffix in enumerate(("jpg", "JPG", "png")))
    (root / "ImageSets/Main/train.txt").write_text(lines, encoding="utf-8")

    data = read(root, "train")

    assert [len(image.boxes) for image in data.images] == [3, 0, 3]
    assert data.findings == ()


def test_name_that_has_an_annotation_file_as_it_stands_is_left_so(tmp_path: Path) -> None:
    images = [ToyImage("a.jpg", (40, 60)), ToyImage("a", (40, 60), (ToyObject("cat", (0, 0, 9, 9)),))]
    root = write_voc(tmp_path, {"train": images[:1], "test": images[1:]})

    assert [len(image.boxes) for image in read(root, "train").images] == [0]


def test_listed_file_name_without_annotation_file_is_an_empty_image(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(1)})
    (root / "ImageSets/Main/train.txt").write_text("image0.jpg\n", encoding="utf-8")
    (root / "Annotations/image0.xml").rename(root / "Annotations/other.xml")

    data = read(root, "train")

    assert [image.file_name for image in data.images] == ["image0.jpg"]
    only_finding(data.findings, "no-label-file")


def test_one_folder_of_xml_and_images(tmp_path: Path) -> None:
    root = write_side_by_side(tmp_path / "images", toy_images(3))

    data = read(root, "all")

    assert find_format(root).name == "VOC"
    assert recognise(root) == "VOC: has xml files beside the images in the folder itself"
    assert list_splits(root) == ("all",)
    assert [image.file_name for image in data.images] == [f"image{i}.jpg" for i in range(3)]
    assert [len(image.boxes) for image in data.images] == [3, 0, 3]
    assert data.findings == ()


def test_one_folder_a_split(tmp_path: Path) -> None:
    write_side_by_side(tmp_path / "train", toy_images(3))
    write_side_by_side(tmp_path / "valid", toy_images(2, prefix="valid"))
    write_pixels(tmp_path / "unlabelled", toy_images(1))

    data = read(tmp_path, "valid")

    assert find_format(tmp_path).name == "VOC"
    assert data.reason == "VOC: has xml files beside the images in train/, valid/"
    assert list_splits(tmp_path) == ("train", "valid")
    assert [image.file_name for image in data.images] == ["valid0.jpg", "valid1.jpg"]
    assert data.findings == ()
    assert len(read(tmp_path, "all").images) == 5
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path, "val")
    assert str(caught.value) == f"{tmp_path}: no split 'val'; choose one of: train, valid, all; name one with --split"


def test_files_of_a_folder_that_is_a_split_are_named_from_the_data_folder(tmp_path: Path) -> None:
    write_side_by_side(tmp_path / "train", toy_images(2))
    (tmp_path / "train/image0.jpg").unlink()

    finding = only_finding(read(tmp_path, "train").findings, "missing-image")

    assert str(finding) == (
        "train/image0.xml: its image is missing: in train/ there is no 'image0' with an image suffix "
        "and no 'image0.jpg'; add the image; left out"
    )


def test_missing_image_beside_its_xml(tmp_path: Path) -> None:
    write_side_by_side(tmp_path, toy_images(2))
    (tmp_path / "image0.jpg").unlink()

    finding = only_finding(read(tmp_path, "all").findings, "missing-image")

    assert "in the data folder there is no 'image0'" in finding.message


@pytest.mark.parametrize("xml", ["<project/>", "<annotations><image/></annotations>", ""])
def test_other_xml_beside_images_is_no_data_set(tmp_path: Path, xml: str) -> None:
    write_pixels(tmp_path, [ToyImage("a", (40, 60))])
    (tmp_path / "a.xml").write_text(xml, encoding="utf-8")

    assert recognise(tmp_path) is None


def test_xml_without_images_beside_it_leaves_another_format_alone(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": toy_images(1)})
    (root / "xml").mkdir()
    (root / "xml/image0.xml").write_text(voc_xml(toy_images(1)[0]), encoding="utf-8")

    assert find_format(root).name == "COCO"


def test_annotations_folder_comes_before_files_side_by_side(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(2)})
    write_side_by_side(root / "copies", toy_images(1, prefix="copy"))

    assert list_splits(root) == ("train",)
    with pytest.raises(InputError, match="no split 'copies'"):
        load_dataset(root, "copies")


def test_subfolders_alone(tmp_path: Path) -> None:
    """As CVAT writes images that lay in folders: no xml in Annotations/ itself."""
    root = write_voc(tmp_path, {"default": toy_images(2)})
    for folder, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        (root / folder / "cam1").mkdir()
        for number in range(2):
            (root / f"{folder}/image{number}.{suffix}").rename(root / f"{folder}/cam1/image{number}.{suffix}")
    (root / "ImageSets/Main/default.txt").write_text("cam1/image0\ncam1/image1\n", encoding="utf-8")
    data = read(root, "default")
    assert [image.file_name for image in data.images] == ["cam1/image0.jpg", "cam1/image1.jpg"]
    assert [len(image.boxes) for image in data.images] == [3, 0]
    assert data.findings == ()


def test_hidden_xml_is_no_label(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": toy_images(2)})
    (root / "Annotations/._image0.xml").write_bytes(b"\0\5\x16\7")  # macOS
    (root / "ImageSets/Main/train.txt").unlink()
    data = read(root, "all")
    assert len(data.images) == 2
    assert data.findings == ()

"""Which format a folder has is found out by looking, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.data.discover import find_format, list_splits, load_dataset
from detection.errors import InputError
from tests.builders import toy_images, write_coco, write_ilsvrc, write_voc, write_yolo

SPLITS = {"train": toy_images(2), "val": toy_images(2, prefix="val")}


@pytest.mark.parametrize(
    ("write", "name", "reason", "splits"),
    [
        (write_voc, "voc", "VOC: has Annotations/*.xml and ImageSets/Main/", ("train", "val")),
        (
            write_coco,
            "coco",
            "COCO: has annotations/instances_train.json, annotations/instances_val.json",
            ("train", "val"),
        ),
        (write_yolo, "yolo", "YOLO: has data.yaml with class names", ("train", "val")),
        (
            write_ilsvrc,
            "ilsvrc",
            "ILSVRC: has Annotations/DET/ and Data/DET/; classes of devkit/data/map_det.txt",
            ("train", "val"),
        ),
    ],
)
def test_format_is_found_and_said(tmp_path: Path, write: object, name: str, reason: str, splits: tuple[str]) -> None:
    assert callable(write)
    write(tmp_path, SPLITS)

    data = load_dataset(tmp_path, "val")

    assert (data.format, data.reason, data.split, data.root) == (name, reason, "val", tmp_path)
    assert list_splits(tmp_path) == splits


def test_nothing_known_tells_what_each_format_needs_and_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "readme.txt").touch()

    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path, "train")

    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: no known data set; found photos/, readme.txt; expected one of\n")
    parts = ("VOC: Annotations/*.xml", "COCO: annotations/instances_<split>.json", "YOLO: data.yaml with 'names'")
    for part in (*parts, "ILSVRC: Annotations/DET/<split>/"):
        assert f"\n  {part}" in message


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no known data set; found nothing; expected one of"):
        list_splits(tmp_path)


def test_data_set_one_level_down_is_pointed_to(tmp_path: Path) -> None:
    write_voc(tmp_path / "cards", SPLITS)
    (tmp_path / "notes").mkdir()

    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path, "train")

    hint = f"found cards/, notes/; looks like a data set one level down: {tmp_path / 'cards'}; expected one of\n"
    assert hint in str(caught.value)


def test_zip_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "cards.ZIP").touch()
    (tmp_path / ".hidden").touch()

    for root in (tmp_path, tmp_path / "cards.ZIP"):
        with pytest.raises(InputError, match=r"cards\.ZIP; unpack the zip first; expected one of"):
            load_dataset(root, "train")
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path, "train")
    assert "unpack the zip" not in str(caught.value)


def test_yaml_that_names_no_split(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [cat]", encoding="utf-8")

    with pytest.raises(InputError, match="names no split; add 'train: images/train'"):
        list_splits(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder; give the folder of a data set"):
        load_dataset(tmp_path / "nowhere", "train")


def test_file_of_no_known_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()

    with pytest.raises(InputError, match=r"no known data set; found a\.txt"):
        load_dataset(tmp_path / "a.txt", "train")


def test_two_formats_in_one_folder_are_told_and_settled_by_the_file(tmp_path: Path) -> None:
    write_yolo(write_coco(tmp_path, SPLITS), SPLITS)

    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path, "train")

    assert "more than one format fits (COCO: has annotations/" in str(caught.value)
    assert "YOLO: has data.yaml with class names)" in str(caught.value)
    assert str(caught.value).endswith("give the json or yaml itself, or move one away")
    assert find_format(tmp_path / "data.yaml").name == "YOLO"
    assert load_dataset(tmp_path / "annotations/instances_val.json", "val").format == "coco"


def test_annotations_of_voc_and_coco_are_told_apart(tmp_path: Path) -> None:
    """Where file systems do not tell capitals apart, both lie in one folder."""
    root = write_coco(tmp_path, SPLITS)

    assert find_format(root).name == "COCO"
    (root / "annotations/a.xml").write_text("<annotation/>", encoding="utf-8")
    with pytest.raises(InputError, match="more than one format fits"):
        find_format(root)

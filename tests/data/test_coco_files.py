"""Where a COCO data set keeps the json and the images of a split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from detection.data.coco import read_coco, recognise
from detection.data.coco_files import list_splits
from detection.data.discover import load_dataset
from detection.errors import InputError
from tests.builders import CLASS_NAMES, ToyImage, coco_document, toy_images, write_coco, write_pixels
from tests.data.contracts import assert_valid_data


def place(root: Path, json_name: str, image_folder: str, images: list[ToyImage] | None = None) -> Path:
    """A data set with its json and its images in these places."""
    document = coco_document(images or toy_images(2), {name: i for i, name in enumerate(CLASS_NAMES)})
    (root / json_name).parent.mkdir(parents=True, exist_ok=True)
    (root / json_name).write_text(json.dumps(document), encoding="utf-8")
    write_pixels(root / image_folder, images or toy_images(2))
    return root


@pytest.mark.parametrize(
    ("json_name", "image_folder", "split"),
    [
        ("annotations/instances_train2017.json", "train2017", "train"),
        ("annotations/instances_train2017.json", "train2017", "train2017"),
        ("annotations/instances_train2017.json", "images/train2017", "train"),
        ("annotations/instances_train2017.json", "train", "train"),
        ("annotations/train.json", "images/train", "train"),
        ("annotations/train.json", "images", "train"),
        ("train.json", "train", "train"),
        ("train.json", ".", "train"),
        ("train/_annotations.coco.json", "train", "train"),
    ],
)
def test_usual_places(tmp_path: Path, json_name: str, image_folder: str, split: str) -> None:
    root = place(tmp_path, json_name, image_folder)

    data = load_dataset(root, split)

    assert_valid_data(data)
    assert len(data.images) == 2
    assert data.findings == ()
    assert data.reason == f"COCO: has {json_name}"
    assert list_splits(root) == ("train",)


def test_json_itself_can_be_given(tmp_path: Path) -> None:
    path = place(tmp_path, "annotations/my labels.json", "images") / "annotations/my labels.json"

    assert recognise(path) == "COCO: has my labels.json"
    assert list_splits(path) == ("my labels",)
    assert len(load_dataset(path, "anything").images) == 2


def test_other_files_of_coco_are_no_splits(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"val2017": toy_images(1), "train2014": [], "train2017": []})
    for name in ("captions_val2017", "person_keypoints_val2017"):
        (root / f"annotations/{name}.json").write_text('{"images": []}', encoding="utf-8")

    assert list_splits(root) == ("train2014", "train2017", "val")
    with pytest.raises(InputError) as caught:
        load_dataset(root, "train")
    assert str(caught.value).startswith(f"{root}: more than one json for split 'train'; expected ")
    assert str(caught.value).endswith("; choose one of: train2014, train2017; name one with --split")


def test_result_files_are_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "detections.json").write_text('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', encoding="utf-8")

    assert recognise(tmp_path) is None
    with pytest.raises(InputError, match=r"not a COCO data set; expected annotations/instances_<split>\.json"):
        read_coco(tmp_path, "train")


def test_images_that_are_nowhere(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": toy_images(2)})
    shutil.rmtree(root / "train")

    with pytest.raises(InputError) as caught:
        load_dataset(root, "train")

    assert "none of its images ('image0.jpg', ...) lies in " in str(caught.value)
    assert str(root / "images/train") in str(caught.value)


def test_names_with_folders_and_backslashes(tmp_path: Path) -> None:
    root = place(tmp_path, "annotations/train.json", "images/day 1")
    path = root / "annotations/train.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for entry in document["images"]:
        entry["file_name"] = f"day 1\\{entry['file_name']}"
    path.write_text(json.dumps(document), encoding="utf-8")

    assert [image.file_name for image in load_dataset(root, "train").images] == ["day 1/image0.jpg", "day 1/image1.jpg"]


def test_images_that_are_there_are_found_though_the_first_are_not(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": [ToyImage(f"{n:03d}", (12, 16)) for n in range(60)]})
    for number in range(59):
        (root / f"train/{number:03d}.jpg").unlink()
    assert [image.file_name for image in load_dataset(root, "train").images] == ["059.jpg"]


@pytest.mark.parametrize(
    "text",
    ['{"categories": [{"id": 0, "name": "cat"}], "info": {"year": 26}}', '{"source": "images", "format": "voc"}'],
)
def test_small_files_that_list_no_images_are_no_data_set(tmp_path: Path, text: str) -> None:
    """What Label Studio puts beside its labels, and a list of changes."""
    (tmp_path / "notes.json").write_text(text, encoding="utf-8")
    assert recognise(tmp_path) is None

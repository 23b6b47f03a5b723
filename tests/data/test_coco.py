"""What is special about COCO: id schemes, crowds, areas, where the json and the images lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.errors import InputError
from detection.evaluation.coco_map import coco_map
from detection.results_file import read_detections
from tests.builders import CLASS_NAMES, ToyImage, ToyObject, toy_images, write_coco, write_pixels
from tests.data.contracts import assert_valid_data, only_finding

JSON = "annotations/instances_train.json"
Edit = Callable[[dict[str, Any]], object]


def write_edited(root: Path, edit: Edit, images: list[ToyImage] | None = None) -> Path:
    """A data set whose json was edited by hand."""
    write_coco(root, {"train": images or toy_images(3)})
    document = json.loads((root / JSON).read_text(encoding="utf-8"))
    edit(document)
    (root / JSON).write_text(json.dumps(document), encoding="utf-8")
    return root


def read_edited(root: Path, edit: Edit, images: list[ToyImage] | None = None) -> DetectionData:
    data = load_dataset(write_edited(root, edit, images), "train")
    assert_valid_data(data)
    return data


def assert_same_images(first: DetectionData, second: DetectionData) -> None:
    for image, other in zip(first.images, second.images, strict=True):
        assert (image.image_id, image.file_name, image.size_hw) == (other.image_id, other.file_name, other.size_hw)
        for column in ("boxes", "labels", "ignore", "area"):
            np.testing.assert_array_equal(getattr(image, column), getattr(other, column))


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 2, 3), (11, 90, 91), (7, 3, 5)])
def test_id_schemes_give_the_same_labels(tmp_path: Path, ids: tuple[int, ...]) -> None:
    reference = load_dataset(write_coco(tmp_path / "reference", {"train": toy_images(3)}), "train")
    root = write_coco(tmp_path / "other", {"train": toy_images(3)}, dict(zip(CLASS_NAMES, ids, strict=True)))

    data = load_dataset(root, "train")

    assert_valid_data(data)
    assert_same_images(data, reference)
    assert data.class_names == CLASS_NAMES
    assert data.category_ids == ids


def test_shuffled_categories_give_the_same_labels_by_name(tmp_path: Path) -> None:
    reference = load_dataset(write_coco(tmp_path / "reference", {"train": toy_images(3)}), "train")
    root = write_coco(tmp_path / "other", {"train": toy_images(3)}, {"dog": 1, "bird": 2, "cat": 3})

    assert load_dataset(root, "train").class_names == ("dog", "bird", "cat")
    data = load_dataset(root, "train", reference.class_names)

    assert_same_images(data, reference)
    assert data.category_ids == (2, 3, 1)
    assert data.findings == ()


def test_class_that_the_json_lacks_gets_a_free_id(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": toy_images(3)}, {"bird": 4, "cat": 90, "dog": 2})

    data = load_dataset(root, "train", ("horse", "cat", "bird", "cow", "dog"))

    assert data.category_ids == (91, 90, 4, 92, 2)
    assert data.findings == ()


def test_category_without_objects_may_be_unknown(tmp_path: Path) -> None:
    root = write_edited(tmp_path, lambda document: document["categories"].append({"id": 50, "name": "horse"}))

    assert load_dataset(root, "train", CLASS_NAMES).class_names == CLASS_NAMES


def test_categories_without_a_name_are_passed_over(tmp_path: Path) -> None:
    data = read_edited(tmp_path, lambda document: document["categories"].insert(0, {"id": 0, "name": ""}))

    assert data.category_ids == (1, 2, 3)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda document: document["categories"].append({"id": 1, "name": "horse"}),
            "class id 1 stands more than once",
        ),
        (
            lambda document: document["categories"].append({"id": 9, "name": "cat"}),
            "class name cat stands more than once",
        ),
        (lambda document: document["categories"].append({"id": "x", "name": "cow"}), "category id 'x' is no integer"),
        (lambda document: document["categories"].append({"name": "cow"}), "category id None is no integer"),
        (lambda document: document["categories"].clear(), "names no class"),
        (lambda document: document.pop("annotations"), "no list 'annotations'; a COCO json has the lists images, anno"),
        (lambda document: document.update(images={}), "no list 'images'"),
    ],
)
def test_broken_frame_is_an_error(tmp_path: Path, edit: Edit, message: str) -> None:
    root = write_edited(tmp_path, edit)

    with pytest.raises(InputError) as caught:
        load_dataset(root, "train")

    assert str(caught.value).startswith(f"{root / JSON}: {message}")


@pytest.mark.parametrize("text", ['{"images": [', '{"images": ' + "[" * 100_000, '["images"]'])
def test_broken_json_is_an_error(tmp_path: Path, text: str) -> None:
    root = write_coco(tmp_path, {"train": toy_images(1)})
    (root / JSON).write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"instances_train.json: (not valid json|no list 'images')"):
        load_dataset(root, "train")


@pytest.mark.parametrize("field", [{"iscrowd": 1}, {"ignore": 1}, {"iscrowd": 0, "ignore": True}, {"ignore": "1"}])
def test_crowd_and_ignore(tmp_path: Path, field: dict[str, object]) -> None:
    image = ToyImage("a", (40, 60), (ToyObject("cat", (0, 0, 20, 20)), ToyObject("cat", (5, 5, 20, 20))))

    data = read_edited(tmp_path, lambda document: document["annotations"][0].update(field), [image])

    assert data.images[0].ignore.tolist() == [True, False]


@pytest.mark.parametrize(
    ("area", "expected"),
    [(77.5, 77.5), (0, 400), (-3, 400), (None, 400), ("x", 400), (float("inf"), 400), (10**400, 400)],
)
def test_area_is_that_of_the_json_if_it_makes_sense(tmp_path: Path, area: object, expected: float) -> None:
    image = ToyImage("a", (40, 60), (ToyObject("cat", (0, 0, 20, 20)),))

    data = read_edited(tmp_path, lambda document: document["annotations"][0].update(area=area), [image])

    assert data.images[0].area.tolist() == [expected]


def test_image_ids_of_more_than_64_bits_are_numbered(tmp_path: Path) -> None:
    def lengthen(document: dict[str, Any]) -> None:
        for entry in [*document["images"], *document["annotations"]]:
            entry["id" if "file_name" in entry else "image_id"] += 20240101123456789012

    data = read_edited(tmp_path, lengthen)
    assert [image.image_id for image in data.images] == list(range(1, len(data.images) + 1))
    assert coco_map(data, {}).summary["AP"] == 0


def test_image_ids_are_kept_or_numbered_if_they_are_strings(tmp_path: Path) -> None:
    def as_strings(document: dict[str, Any]) -> None:
        for image in document["images"]:
            image["id"] = f"photo-{image['id']}"
        for annotation in document["annotations"]:
            annotation["image_id"] = f"photo-{annotation['image_id']}"

    reference = load_dataset(write_coco(tmp_path / "reference", {"train": toy_images(3)}), "train")
    data = read_edited(tmp_path / "strings", as_strings)

    assert [image.image_id for image in reference.images] == [10, 20, 30]
    assert [image.image_id for image in data.images] == [1, 2, 3]
    assert [image.labels.tolist() for image in data.images] == [image.labels.tolist() for image in reference.images]
    assert data.findings == ()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"image_id": 99}, "unknown-image", "annotation 2 has image_id 99, which is no usable entry of 'images'"),
        ({"image_id": None}, "unknown-image", "annotation 2 has image_id None"),
        ({"image_id": [1]}, "unknown-image", "annotation 2 has image_id None"),
        ({"category_id": 17}, "unknown-category", "annotation 2 has category_id 17, which is no entry of 'categories'"),
        ({"bbox": [1, 2, 3]}, "bad-object", "annotation 2 has bbox [1, 2, 3], expected [x, y, width, height]"),
        ({"bbox": None}, "bad-object", "annotation 2 has bbox None"),
        ({"bbox": "1234"}, "bad-object", "annotation 2 has bbox '1234'"),
        ({"bbox": [1, 2, "x", 4]}, "bad-object", "annotation 2 has bbox [1, 2, 'x', 4]"),
        (
            {"bbox": [1, 2, -5, 4]},
            "degenerate-box",
            "annotation 2 of image0.jpg has x 1, y 2, width -5, height 4, which",
        ),
        ({"bbox": [1, 2, float("nan"), 4]}, "non-finite-box", "annotation 2 of image0.jpg has x 1, y 2, width nan"),
    ],
)
def test_annotation_that_cannot_be_used_is_left_out(
    tmp_path: Path, change: dict[str, object], kind: str, message: str
) -> None:
    data = read_edited(tmp_path, lambda document: document["annotations"][1].update(change))

    assert data.images[0].labels.tolist() == [0, 2]
    finding = only_finding(data.findings, kind)
    assert finding.file == JSON
    assert finding.message.startswith(message)
    assert finding.remedy == "correct or delete it; left out"


def test_every_faulty_annotation_is_a_finding(tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        for annotation in document["annotations"][:3]:
            annotation["image_id"] = 99

    findings = read_edited(tmp_path, edit).findings

    assert [finding.message for finding in findings] == [
        f"annotation {i} has image_id 99, which is no usable entry of 'images'" for i in (1, 2, 3)
    ]
    assert {finding.kind for finding in findings} == {"unknown-image"}


def test_entries_that_are_no_objects(tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["annotations"].append("text")
        document["images"].append(None)

    findings = read_edited(tmp_path, edit).findings

    assert [finding.kind for finding in findings] == ["bad-image-entry", "unknown-image"]
    assert findings[0].message == "image entry 4 has no id"
    assert findings[1].message.startswith("annotation entry 7 has image_id None")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 20}, "image entry 3 ('image2.jpg') has the id 20 of an earlier image"),
        ({"id": None}, "image entry 3 has no id"),
        ({"file_name": None}, "image entry 3 (id 30) has no file_name"),
        (
            {"file_name": "../../secret.jpg"},
            "image entry 3 (id 30) has the file_name '../../secret.jpg', which leads out",
        ),
        (
            {"file_name": "/etc/secret.jpg"},
            "image entry 3 (id 30) has the file_name '/etc/secret.jpg', which leads out",
        ),
        ({"file_name": "C:\\secret.jpg"}, "image entry 3 (id 30) has the file_name 'C:/secret.jpg', which leads out"),
    ],
)
def test_image_entry_that_cannot_be_used_is_left_out(tmp_path: Path, change: dict[str, object], message: str) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["images"][2].update(change)
        document["annotations"] = document["annotations"][:3]

    data = read_edited(tmp_path, edit)

    assert [image.file_name for image in data.images] == ["image0.jpg", "image1.jpg"]
    finding = next(finding for finding in data.findings if finding.kind == "bad-image-entry")
    assert (finding.file, finding.message[: len(message)]) == (JSON, message)


def test_an_entry_without_an_id_leaves_the_others_theirs(tmp_path: Path) -> None:
    data = read_edited(tmp_path, lambda document: document["images"].append({"file_name": "lost.jpg"}))
    assert [image.image_id for image in data.images] == [10, 20, 30]
    assert [finding.kind for finding in data.findings] == ["bad-image-entry"]


def test_entries_of_one_file_are_one_image_with_the_objects_of_both(tmp_path: Path) -> None:
    def split(document: dict[str, Any]) -> None:
        document["images"].append({**document["images"][0], "id": 99})
        moved = next(each for each in document["annotations"] if each["image_id"] == 10)
        moved["image_id"] = 99

    reference = load_dataset(write_coco(tmp_path / "reference", {"train": toy_images(3)}), "train")
    data = read_edited(tmp_path / "split", split)
    assert [image.file_name for image in data.images] == ["image0.jpg", "image1.jpg", "image2.jpg"]
    assert_same_images(data, reference)
    (finding,) = data.findings
    assert str(finding).startswith(
        f"{JSON}: image entry 4 has the file_name 'image0.jpg' of an earlier one; list each image once"
    )
    row = {"category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    for ids, kept, told in (
        ([99, 99], 2, ()),
        ([99, 10, 99], 2, ("1 detections were left out",)),
        ([10, 99], 1, ("1 ",)),
    ):
        (tmp_path / "results.json").write_text(json.dumps([{**row, "image_id": image_id} for image_id in ids]))
        read = read_detections(tmp_path / "results.json", data)
        assert {image_id: len(found) for image_id, found in read.detections.items()} == {10: kept}
        assert [warning.startswith(start) for warning, start in zip(read.warnings, told, strict=True)] == [True] * len(
            told
        )
    others = replace(data, images=data.images[1:])  # as of a share, or where the image cannot be read
    with pytest.raises(InputError, match="image_id 10 is unknown"):
        read_detections(tmp_path / "results.json", others)


def test_a_further_entry_without_a_number_leaves_the_others_theirs(tmp_path: Path) -> None:
    data = read_edited(tmp_path, lambda document: document["images"].append({**document["images"][0], "id": "copy"}))
    assert [image.image_id for image in data.images] == [10, 20, 30]
    assert data.other_ids == {}


def test_repeated_annotation_ids_are_told_and_all_read(tmp_path: Path) -> None:
    data = read_edited(tmp_path, lambda document: document["annotations"][3].update(id=1))

    assert [len(image.boxes) for image in data.images] == [3, 0, 3]
    assert only_finding(data.findings, "duplicate-id").message == "annotation id 1 stands more than once"


def test_annotations_without_ids(tmp_path: Path) -> None:
    data = read_edited(tmp_path, lambda document: [entry.pop("id") for entry in document["annotations"]])

    assert [len(image.boxes) for image in data.images] == [3, 0, 3]
    assert data.findings == ()


def test_annotations_in_any_order(tmp_path: Path) -> None:
    reference = load_dataset(write_coco(tmp_path / "reference", {"train": toy_images(4)}), "train")

    def interleave(document: dict[str, Any]) -> None:
        document["annotations"].sort(key=lambda entry: (entry["category_id"], -entry["image_id"]))

    assert_same_images(read_edited(tmp_path / "other", interleave, toy_images(4)), reference)


def test_a_json_without_images_or_a_folder_for_them_says_so(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    categories = [{"id": 1, "name": "cat"}]
    document = {"images": [], "annotations": [], "categories": categories}
    (tmp_path / JSON).write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(InputError, match="split 'train' lists no image"):
        load_dataset(tmp_path, "train")


def test_images_that_are_not_in_the_json_are_told_once(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": toy_images(2)})
    write_pixels(root / "train", toy_images(5, prefix="unlisted"))

    finding = only_finding(load_dataset(root, "train").findings, "unlisted-image")

    assert finding.message == (
        "5 images of train/ are not listed: unlisted0.jpg, unlisted1.jpg, unlisted2.jpg and 2 more"
    )


def test_images_of_other_splits_in_a_shared_folder_are_not_missed(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": toy_images(2), "val": toy_images(2, prefix="val")})
    shutil.copytree(root / "val", root / "images")
    shutil.copytree(root / "train", root / "images", dirs_exist_ok=True)
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "val")

    assert load_dataset(root, "train").findings == ()


def as_corners(num_annotations: int) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        for annotation in document["annotations"][:num_annotations]:
            x, y, width, height = annotation["bbox"]
            annotation["bbox"] = [x, y, x + width, y + height]

    return edit


def test_corners_written_as_size_are_suspected(tmp_path: Path) -> None:
    objects = tuple(ToyObject("cat", (10 + i, 10, 50 + i, 36)) for i in range(10))

    data = read_edited(tmp_path, as_corners(3), [ToyImage("a", (40, 60), objects)])

    finding = next(finding for finding in data.findings if finding.kind == "misread-boxes")
    assert finding.message.startswith(
        "3 of 10 boxes leave their image as [x, y, width, height] but fit as [x1, y1, x2, y2], the first: annotation 1"
    )


def test_two_of_ten_boxes_that_leave_the_image_are_no_pattern(tmp_path: Path) -> None:
    objects = tuple(ToyObject("cat", (10 + i, 10, 50 + i, 36)) for i in range(10))

    data = read_edited(tmp_path, as_corners(2), [ToyImage("a", (40, 60), objects)])

    assert [finding.kind for finding in data.findings] == ["clipped-box"] * 2


def test_50_000_annotations_of_one_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root = write_coco(tmp_path, {"train": [ToyImage("a", (480, 640))]})
    boxes = rng.uniform(5, 200, (50_000, 4))
    document = json.loads((root / JSON).read_text(encoding="utf-8"))
    document["annotations"] = [
        {"id": i, "image_id": 10, "category_id": 1 + i % 3, "bbox": box} for i, box in enumerate(boxes.tolist())
    ]
    (root / JSON).write_text(json.dumps(document), encoding="utf-8")

    data = load_dataset(root, "train")

    assert len(data.images[0].boxes) == 50_000

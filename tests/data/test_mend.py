"""The mended copy: what it holds, what it refuses, and that it passes the check."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detection.data.audit import Audit, audit_dataset
from detection.data.discover import load_dataset
from detection.data.mend import Change, _name_splits, left_for_a_person, mend_dataset, write_changes
from tests.builders import (
    ToyImage,
    ToyObject,
    random_pixels,
    save_image,
    toy_images,
    write_coco,
    write_ilsvrc,
    write_voc,
    write_yolo,
)
from tests.data.contracts import assert_valid_data

CAT = ToyObject("cat", (2, 3, 22, 33))
DOG = ToyObject("dog", (5, 5, 45, 35), ignore=True)


def write_yaml_elsewhere(tmp_path: Path) -> Path:
    """A yaml may have its images anywhere; here it lies in home/ and they in data/."""
    root = write_yolo(tmp_path / "data", {"train": toy_images(2), "val": toy_images(2, seed=4)})
    for name in ("image0", "image1"):
        save_image(root / f"images/val/{name}.jpg", random_pixels((40, 60), len(name) + int(name[-1])))
    (tmp_path / "home").mkdir()
    text = (root / "data.yaml").read_text(encoding="utf-8")
    (tmp_path / "home/data.yaml").write_text(f"path: ../data\n{text}", encoding="utf-8")
    return tmp_path / "home/data.yaml"


def mend(root: Path, out: Path) -> tuple[Audit, tuple[Change, ...], Audit]:
    audit = audit_dataset(root)
    changes = mend_dataset(audit, out)
    return audit, changes, audit_dataset(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("write", [write_voc, write_coco, write_yolo, write_ilsvrc])
def test_clean_data_of_every_format_are_the_same_in_the_copy(tmp_path: Path, write: Callable[..., Path]) -> None:
    names = ("n02672831", "n02691156", "n02219486") if write is write_ilsvrc else ("bird", "cat", "dog")
    splits = {
        "train": toy_images(3, class_names=names),
        "val": toy_images(2, prefix="other", class_names=names, seed=5),
    }
    root = write(tmp_path / "data", splits)
    for seed, path in enumerate(sorted(root.rglob("other*.JPEG"))):
        save_image(path, random_pixels(toy_images(2)[seed].size_hw, 100 + seed))
    before = contents(root)

    source, changes, copy = mend(root, tmp_path / "out/mended")

    assert changes == ()
    assert left_for_a_person(source, copy) == ()
    assert copy.format == "coco"
    assert contents(root) == before
    for part, mended in zip(source.parts, copy.parts, strict=True):
        assert_valid_data(mended)
        assert (mended.split, mended.class_names) == (part.split, part.class_names)
        assert mended.category_ids == part.category_ids
        for image, other in zip(part.images, mended.images, strict=True):
            assert (other.image_id, other.size_hw) == (image.image_id, image.size_hw)
            assert other.path.read_bytes() == image.path.read_bytes()
            for column in ("boxes", "labels", "ignore", "area"):
                np.testing.assert_array_equal(getattr(other, column), getattr(image, column))


def test_every_fault_that_can_be_mended_is_listed_and_gone(tmp_path: Path) -> None:
    objects = (
        CAT,
        CAT,
        ToyObject("cat", (9, 9, 9, 30)),
        ToyObject("dog", (50, 5, 70, 35)),
        ToyObject("dog", (8, 8, 8.5, 20)),
        ToyObject("Dog", (100, 5, 170, 35)),
        DOG,
    )
    root = write_voc(tmp_path / "data", {"train": [ToyImage("a", (40, 60), objects), *toy_images(2)]})
    save_image(root / "JPEGImages/image1.jpg", random_pixels((44, 60)), quality=95)
    (root / "JPEGImages/image1.jpg").write_bytes((root / "JPEGImages/image1.jpg").read_bytes()[:-200])
    save_image(root / "JPEGImages/stray.jpg", random_pixels((44, 60), 9))

    source, changes, copy = mend(root, tmp_path / "mended")

    assert sorted((change.kind, change.done) for change in changes) == [
        ("clipped-box", "clipped to the image"),
        ("degenerate-box", "left out"),
        ("duplicate-box", "left out"),
        ("outside-box", "left out"),
        ("similar-classes", "written as 'dog'"),
        ("tiny-box", "left out"),
        ("unlisted-image", "left out"),
        ("unreadable-image", "left out"),
    ]
    assert left_for_a_person(source, copy) == ()
    (part,) = copy.parts
    assert part.class_names == ("bird", "cat", "dog")
    assert [image.file_name for image in part.images] == ["JPEGImages/a.jpg", "JPEGImages/image0.jpg"]
    assert part.images[0].boxes.tolist() == [[2, 3, 22, 33], [50, 5, 60, 35], [5, 5, 45, 35]]
    assert part.images[0].ignore.tolist() == [False, False, True]


def test_copies_stay_in_the_test_split_only(tmp_path: Path) -> None:
    train, test = toy_images(4), toy_images(2, prefix="test", seed=3)
    root = write_voc(tmp_path / "data", {"train": train, "trainval": train, "test": test})
    shutil.copy(root / "JPEGImages/test0.jpg", root / "JPEGImages/image0.jpg")

    _, changes, copy = mend(root, tmp_path / "mended")

    assert [(change.kind, change.file, change.done) for change in changes] == [
        ("shared-image", "image0.jpg", "left out of split 'train'"),
        ("shared-image", "image0.jpg", "left out of split 'trainval'"),
    ]
    assert {part.split: len(part.images) for part in copy.parts} == {"test": 2, "train": 3, "trainval": 3}
    assert copy.findings == ()


def test_names_that_never_meet_are_merged(tmp_path: Path) -> None:
    val = ToyImage("b", (40, 60), (CAT._replace(name="CAT"),))
    root = write_voc(tmp_path / "data", {"train": [ToyImage("a", (40, 60), (CAT,))], "val": [val]})

    _, changes, copy = mend(root, tmp_path / "mended")

    assert [(change.kind, change.message, change.done) for change in changes[1:]] == [
        ("similar-classes", "'CAT' differs only in case, blanks, _ or -", "written as 'cat'")
    ]
    assert copy.findings == ()
    assert [part.class_names for part in copy.parts] == [("cat",), ("cat",)]


def test_names_that_a_split_tells_apart_are_left_for_a_person(tmp_path: Path) -> None:
    train = ToyImage("a", (40, 60), (CAT, ToyObject("Cat", (30, 3, 50, 33))))
    val = ToyImage("b", (40, 60), (CAT._replace(name="CAT"),))
    root = write_voc(tmp_path / "data", {"train": [train], "val": [val]})

    source, changes, copy = mend(root, tmp_path / "mended")

    assert [change.kind for change in changes] == ["foreign-class"]
    assert [part.class_names for part in copy.parts] == [("Cat", "cat", "CAT")] * 2
    assert [len(part.images[0].boxes) for part in copy.parts] == [2, 1]
    left = Counter(finding.kind for finding in left_for_a_person(source, copy))
    assert left == {"similar-classes": 2 * 3, "untaught-class": 1}  # Three pairs of the one table in either split.


def test_boxes_that_are_one_once_rounded(tmp_path: Path) -> None:
    near = CAT._replace(box=(2, 3, 22.0000001, 33))
    root = write_coco(tmp_path / "data", {"train": [ToyImage("a", (40, 60), (CAT, near))]})

    _, changes, copy = mend(root, tmp_path / "mended")

    assert [(change.kind, change.done) for change in changes] == [("duplicate-box", "left out")]
    assert copy.findings == ()


def test_a_split_that_cannot_be_read_is_left_for_a_person(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": toy_images(2), "val": []})

    source, changes, copy = mend(root, tmp_path / "mended")

    assert [(change.kind, change.file, change.done) for change in changes] == [
        ("unreadable-split", "split val", "left out")
    ]
    assert [finding.kind for finding in left_for_a_person(source, copy)] == ["unreadable-split"]


def test_a_split_that_ends_up_without_images_is_told(tmp_path: Path) -> None:
    test, val = toy_images(1, prefix="test"), toy_images(1, prefix="val")
    root = write_voc(tmp_path / "data", {"train": toy_images(3), "test": test, "val": val})
    shutil.copy(root / "JPEGImages/test0.jpg", root / "JPEGImages/val0.jpg")

    source, changes, copy = mend(root, tmp_path / "mended")

    assert [(change.kind, change.file, change.done) for change in changes] == [
        ("empty-split", "split val", "left out"),
        ("shared-image", "val0.jpg", "left out of split 'val'"),
    ]
    assert [str(finding) for finding in left_for_a_person(source, copy)] == [
        "split val: has no image that can be decoded and is no copy of a kept one; "
        "give it images; the copy lacks this split"
    ]


def test_background_without_objects_and_ids_that_collide(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", {"train": [ToyImage("a", (40, 60), (CAT,))]}, {"background": 0, "cat": 1})
    dog = DOG._replace(ignore=False)  # one that is to be found
    val = write_coco(tmp_path / "val", {"val": [ToyImage("b", (40, 60), (CAT, dog))]}, {"dog": 1, "cat": 7})
    shutil.copytree(val, root, dirs_exist_ok=True)

    _, changes, copy = mend(root, tmp_path / "mended")

    assert sorted((change.kind, change.done) for change in changes) == [
        ("background-class", "left out"),
        ("class-id", "numbered alike in all splits"),
        ("foreign-class", "one class table for all splits"),
    ]
    assert [(part.class_names, part.category_ids) for part in copy.parts] == [(("cat", "dog"), (1, 2))] * 2
    assert [finding.kind for finding in copy.findings] == ["untaught-class"]


def test_what_a_clean_copy_would_hide_is_told(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", {"train": [ToyImage("a", (40, 60), (CAT,))]})
    save_image(root / "train/a.jpg", random_pixels((60, 40)))

    source, changes, copy = mend(root, tmp_path / "mended")

    assert copy.findings == ()
    left = left_for_a_person(source, copy)
    assert [finding.kind for finding in left] == ["size-mismatch"]
    write_changes(tmp_path / "mended", source, changes, left)
    fixed = json.loads((tmp_path / "mended/fix.json").read_text(encoding="utf-8"))
    assert fixed["changes"][0]["done"] == "the file's size written; boxes as they stand"
    assert [finding["kind"] for finding in fixed["left"]] == ["size-mismatch"]
    assert audit_dataset(tmp_path / "mended").findings == ()  # fix.json beside the jsons does no harm.


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", {"train": toy_images(2)})
    path = root / "annotations/instances_train.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    save_image(tmp_path / "secret.jpg", random_pixels((40, 60)))
    document["images"].append({"id": 99, "file_name": "../../secret.jpg", "width": 60, "height": 40})
    path.write_text(json.dumps(document), encoding="utf-8")
    before = contents(tmp_path)

    mend(root, tmp_path / "mended")

    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name for name in after if name not in before} == {
        "mended/annotations/instances_train.json",
        "mended/images/train/image0.jpg",
        "mended/images/train/image1.jpg",
    }


def test_files_of_one_name_and_images_elsewhere(tmp_path: Path) -> None:
    _, _, copy = mend(write_yaml_elsewhere(tmp_path), tmp_path / "mended")

    names = [[image.file_name for image in part.images] for part in copy.parts]
    assert len({name for group in names for name in group}) == 4
    assert all(
        path.is_relative_to(tmp_path / "mended") for part in copy.parts for path in [i.path for i in part.images]
    )


def test_names_that_differ_only_in_case(tmp_path: Path) -> None:
    images = [ToyImage(name, (40, 60), (CAT,)) for name in ("photo", "PHOTO", "photo-2")]

    _, _, copy = mend(write_voc(tmp_path / "data", {"train": images}), tmp_path / "mended")

    names = [image.file_name for image in copy.parts[0].images]
    assert names == ["JPEGImages/photo.jpg", "JPEGImages/PHOTO-2.jpg", "JPEGImages/photo-2-2.jpg"]
    assert copy.findings == ()


def test_the_copy_can_be_read_as_any_split(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"odd name": toy_images(2)})

    mend(root, tmp_path / "mended")

    assert len(load_dataset(tmp_path / "mended", "odd name").images) == 2


def test_shares_and_lists_in_subfolders_get_names_that_can_be_read(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": toy_images(4), "val": toy_images(2, prefix="val")})
    (root / "ImageSets/Main/sub").mkdir()
    (root / "ImageSets/Main/val.txt").rename(root / "ImageSets/Main/sub/val.txt")
    for split, name in (("train:75%", "train_75_"), ("sub/val", "sub_val")):
        out = tmp_path / name
        mend_dataset(audit_dataset(root, [split]), out)
        assert [part.split for part in audit_dataset(out).parts] == [name]
        assert len(load_dataset(out, name).images) == len(load_dataset(root, split).images)
    assert _name_splits(["a_b", "a/b", "a:b"]) == {"a_b": "a_b", "a/b": "a_b_", "a:b": "a_b__"}

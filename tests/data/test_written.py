"""Copies in every format: nothing of boxes, classes and splits is lost on the way, and what is lost is told."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml

from detection.data.audit import Audit, audit_dataset
from detection.data.discover import load_dataset
from detection.data.mend import Change, left_for_a_person, mend_dataset, write_changes
from detection.data.written import WrittenFormat, yolo_splits
from tests.builders import ToyImage, ToyObject, random_pixels, save_image, toy_images, write_coco, write_voc, write_yolo

FORMATS: tuple[WrittenFormat, ...] = get_args(WrittenFormat)


def convert(root: Path, out: Path, form: WrittenFormat) -> tuple[Audit, tuple[Change, ...]]:
    """The audit of the copy, and what differs."""
    audit = audit_dataset(root)
    changes = mend_dataset(audit, out, form=form)
    copy = audit_dataset(out)
    assert copy.format == form
    assert left_for_a_person(audit, copy) == ()
    return copy, changes


def boxes_of(root: Path, split: str) -> dict[str, list[tuple[str, bool, bytes]]]:
    """Image's name -> class, ignore mark and the bits of each box."""
    data = load_dataset(root, split)
    return {
        image.path.name: [
            (data.class_names[label], bool(ignore), box.tobytes())
            for box, label, ignore in zip(image.boxes, image.labels, image.ignore, strict=True)
        ]
        for image in data.images
    }


@pytest.mark.parametrize("way", [("coco", "yolo", "voc"), ("yolo", "voc", "coco"), ("voc", "coco", "yolo")])
def test_a_way_through_all_formats_is_exact(tmp_path: Path, way: tuple[WrittenFormat, ...]) -> None:
    """Odd sizes and edges that are no whole numbers, as float32 holds them; images without objects; two splits."""
    rng = np.random.default_rng(0)
    splits = {}
    for split in ("train", "test"):
        images = []
        for number in range(6):
            height, width = (int(side) for side in rng.integers(37, 101, 2))
            low = rng.uniform(0, 20, (number, 2)).round(3)
            high = low + rng.uniform(2, 17, (number, 2)).round(3)
            names = rng.choice(["cat", "dog", "a <b> & 'c'"], number)
            pairs = zip(names, np.concatenate([low, high], axis=1).tolist(), strict=True)
            images.append(
                ToyImage(f"{split}{number}", (height, width), tuple(ToyObject(str(n), tuple(b)) for n, b in pairs))
            )
        splits[split] = images
    root = write_voc(tmp_path / "start", splits)
    before = {split: boxes_of(root, split) for split in splits}
    assert sum(map(len, before["train"].values())) == 15
    for form in way:
        copy, changes = convert(root, tmp_path / form, form)
        root = tmp_path / form
        assert changes == ()
        assert sorted(part.split for part in copy.parts) == ["test", "train"]
        assert {split: boxes_of(root, split) for split in splits} == before


@pytest.mark.parametrize("form", FORMATS)
def test_difficult_objects_stay_so_or_are_told(tmp_path: Path, form: WrittenFormat) -> None:
    objects = (ToyObject("cat", (2, 2, 20, 20)), ToyObject("cat", (22, 2, 40, 20), ignore=True))
    root = write_voc(tmp_path / "data", {"train": [ToyImage("a", (40, 60), objects)]})
    _, changes = convert(root, tmp_path / "copy", form)
    kept = [ignore for _, ignore, _ in boxes_of(tmp_path / "copy", "train")["a.jpg"]]
    if form == "yolo":
        assert kept == [False]
        assert [(change.kind, change.done) for change in changes] == [("ignored-object", "left out")]
        assert "1 objects are difficult or crowds" in changes[0].message
    else:
        assert kept == [False, True]
        assert changes == ()


def test_yolo_numbers_classes_from_zero_and_keeps_those_without_objects(tmp_path: Path) -> None:
    ids = {"bird": 7, "cat": 90, "dog": 3}
    cats = [ToyImage("a", (40, 60), (ToyObject("cat", (2, 2, 20, 20)),))]
    convert(write_coco(tmp_path / "data", {"train": cats}, ids), tmp_path / "copy", "yolo")
    content = yaml.safe_load((tmp_path / "copy/data.yaml").read_text())
    assert content == {"train": "train.txt", "names": {0: "bird", 1: "cat", 2: "dog"}}
    assert (tmp_path / "copy/labels/train/a.txt").read_text().split()[0] == "1"
    assert (tmp_path / "copy/train.txt").read_text() == "./images/train/a.jpg\n"


@pytest.mark.parametrize("form", FORMATS)
def test_images_that_differ_in_their_suffix_have_labels_of_their_own(tmp_path: Path, form: WrittenFormat) -> None:
    images = [
        ToyImage(name, (40, 60), (ToyObject("cat", (2, 2, 20, right)),)) for name, right in (("a", 20), ("b", 30))
    ]
    root = write_coco(tmp_path / "data", {"train": images})
    save_image(root / "train/a.png", random_pixels((40, 60), 9))
    (root / "train/b.jpg").unlink()
    labels = root / "annotations/instances_train.json"
    labels.write_text(labels.read_text().replace("b.jpg", "a.png"))
    convert(root, tmp_path / "copy", form)
    found = boxes_of(tmp_path / "copy", "train")
    first, second = ("train_a.jpg", "train_a-2.png") if form == "voc" else ("a.jpg", "a-2.png")
    assert list(found) == [first, second]
    assert found[first] != found[second]


def test_labels_lie_where_yolo_looks_for_them(tmp_path: Path) -> None:
    """Of a path of which several folders are called images, the last one is replaced by labels."""
    root = write_yolo(tmp_path / "images", {"train": toy_images(3)})
    convert(root, tmp_path / "copy/images", "yolo")
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("copy/**/*.*") if path.is_file())
    assert [name for name in names if "image1" in name] == [
        "copy/images/images/train/image1.jpg",
        "copy/images/labels/train/image1.txt",
    ]


@pytest.mark.parametrize(
    ("splits", "named"),
    [
        (["train", "val", "test"], {"train": "train", "val": "val", "test": "test"}),
        (["test", "trainval", "train"], {"train": "train", "test": "test"}),
        (["trainval", "test"], {"train": "trainval", "test": "test"}),
        (["trainval", "val", "test"], {"train": "trainval", "test": "test"}),
        (["train2017", "val2017"], {"train": "train2017", "val": "val2017"}),
        (["valid", "Train"], {"train": "Train", "val": "valid"}),
        (["all"], {"train": "all"}),
        (["cells", "test"], {"train": "cells", "test": "test"}),
        (["test"], {"test": "test"}),
    ],
)
def test_what_a_yaml_calls_the_splits(splits: list[str], named: dict[str, str]) -> None:
    assert yolo_splits(splits) == named


def test_a_split_that_a_yaml_cannot_name_is_told(tmp_path: Path) -> None:
    images = {"train": toy_images(2), "val": toy_images(2, prefix="val", seed=3)}
    root = write_voc(tmp_path / "data", {**images, "trainval": [*images["train"], *images["val"]]})
    audit = audit_dataset(root)
    changes = mend_dataset(audit, tmp_path / "copy", form="yolo")
    told = [change for change in changes if change.kind == "split-name"]
    assert [(change.file, change.done) for change in told] == [
        ("split trainval", "its images are listed in trainval.txt")
    ]
    assert len((tmp_path / "copy/trainval.txt").read_text().splitlines()) == 4


@pytest.mark.parametrize("form", FORMATS)
def test_names_that_no_list_bears(tmp_path: Path, form: WrittenFormat) -> None:
    """Of an old disk, not in UTF-8; with a blank before the suffix; with a line break."""
    names = {"a": os.fsdecode(b"caf\xe9"), "b": "blank ", "c": "two\nlines"}
    objects = (ToyObject("cat", (2, 2, 20, 20)), ToyObject("dog", (5, 5, 20, 20)), ToyObject("bird", (9, 9, 20, 20)))
    root = write_coco(tmp_path / "data", {"train": [ToyImage(name, (40, 60), objects) for name in names]})
    labels = root / "annotations/instances_train.json"
    text = labels.read_text()
    for plain, odd in names.items():
        (root / f"train/{plain}.jpg").rename(root / f"train/{odd}.jpg")
        text = text.replace(f'"{plain}.jpg"', json.dumps(f"{odd}.jpg"))
    labels.write_text(text)
    convert(root, tmp_path / "copy", form)
    assert len(boxes_of(tmp_path / "copy", "train")) == 3


def test_classes_that_a_format_cannot_name_are_told(tmp_path: Path) -> None:
    cats = [ToyImage("a", (40, 60), (ToyObject("cat", (2, 2, 20, 20)),))]
    root = write_coco(tmp_path / "data", {"train": cats})
    changes = mend_dataset(audit_dataset(root), tmp_path / "copy", form="voc")
    assert [change.message.split()[0] for change in changes if change.kind == "unused-class"] == ["'bird'", "'dog'"]


def test_a_list_of_changes_makes_no_other_format_of_a_copy(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "images", {"train": toy_images(2)})
    audit = audit_dataset(root)
    changes = mend_dataset(audit, tmp_path / "copy", form="yolo")
    write_changes(tmp_path / "copy", replace(audit, root=Path("images")), changes, ())
    assert audit_dataset(tmp_path / "copy").format == "yolo"


def test_a_split_that_would_be_the_list_of_a_class_is_called_otherwise(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", {"train": toy_images(2), "aerial_train": toy_images(2, prefix="b", seed=2)})
    copy, changes = convert(root, tmp_path / "copy", "voc")
    assert sorted(part.split for part in copy.parts) == ["aerial-train", "train"]
    assert [(change.file, change.done) for change in changes if change.kind == "split-name"] == [
        ("split aerial_train", "called aerial-train")
    ]


@pytest.mark.parametrize("name", ["000123", "a.img", ".hidden.jpg", ".cache/b.jpg"])
def test_names_that_no_reader_takes_for_an_image(tmp_path: Path, name: str) -> None:
    root = write_coco(tmp_path / "data", {"train": [ToyImage("a", (40, 60), (ToyObject("cat", (2, 2, 20, 20)),))]})
    (root / "train" / name).parent.mkdir(exist_ok=True)
    (root / "train/a.jpg").rename(root / "train" / name)
    labels = root / "annotations/instances_train.json"
    labels.write_text(labels.read_text().replace('"a.jpg"', json.dumps(name)))
    for form in FORMATS[1:]:
        mend_dataset(audit_dataset(root), tmp_path / form, form=form)
        assert len(boxes_of(tmp_path / form, "train")) == 1

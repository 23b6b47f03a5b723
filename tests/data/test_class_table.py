"""Which class names of several splits become one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from detection.data.class_table import ClassTable, merge_classes
from detection.data.discover import load_dataset
from detection.errors import InputError
from tests.builders import ToyImage, write_coco, write_voc
from tests.data.test_class_drift import image


def merged(tmp_path: Path, splits: Mapping[str, ToyImage]) -> ClassTable:
    root = write_voc(tmp_path, {split: [content] for split, content in splits.items()})
    return merge_classes([load_dataset(root, split) for split in splits])


def test_names_that_never_meet_become_the_one_that_is_learnt_most(tmp_path: Path) -> None:
    splits = {
        "val": image("b", "Red_Cell", "Red_Cell", "Red_Cell", "dog"),
        "train": image("a", "red cell", "dog"),
        "test": image("c", "red-cell"),
    }

    table = merged(tmp_path, splits)

    assert table.name_of == {"dog": "dog"} | dict.fromkeys(("red cell", "Red_Cell", "red-cell"), "red cell")
    assert table.id_of == {"dog": 1, "red cell": 2}


@pytest.mark.parametrize("meeting", ["train", "val"])
def test_names_that_meet_in_a_split_are_all_kept(tmp_path: Path, meeting: str) -> None:
    alone = "val" if meeting == "train" else "train"

    table = merged(tmp_path, {meeting: image("a", "A", "a"), alone: image("b", "A"), "test": image("c", "_a")})

    assert table.name_of == {name: name for name in table.id_of}
    assert {"A", "a"} <= set(table.id_of)


def test_a_name_without_objects_meets_none(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": [image("a", "Cat")]}, {"cat": 1, "Cat": 2})

    table = merge_classes([load_dataset(root, "train")])

    assert table == ClassTable({"Cat": 2}, {"cat": "Cat", "Cat": "Cat"})


@pytest.mark.parametrize(("name", "other"), [("C", "C++"), ("C++", "C#"), ("1.5", "15"), ("+1", "-1"), ("1", "-1")])
def test_signs_that_mean_something(tmp_path: Path, name: str, other: str) -> None:
    table = merged(tmp_path, {"train": image("a", name), "val": image("b", other)})

    assert table.name_of == {name: name, other: other}


def test_a_name_of_half_a_character_is_refused(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": [image("a", "cat")]})
    (path,) = root.rglob("*.json")
    path.write_text(path.read_text().replace('"cat"', '"c\\ud800t"'))
    with pytest.raises(InputError, match=r"class name 'c\\ud800t' is no text that a file can hold"):
        load_dataset(root, "train")

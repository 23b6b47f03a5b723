"""Class names and ids that do not fit together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.data.class_drift import SAME_NAME, edit_distance, find_class_drift, likeness
from detection.data.discover import load_dataset
from detection.data.records import Finding
from tests.builders import ToyImage, ToyObject, write_coco, write_voc


def drift(root: Path, *splits: str) -> list[Finding]:
    return find_class_drift([load_dataset(root, split) for split in splits])


def image(name: str, *classes: str) -> ToyImage:
    return ToyImage(name, (40, 60), tuple(ToyObject(each, (i, 0, i + 20, 20)) for i, each in enumerate(classes)))


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [
        ("Cat", "cat", SAME_NAME),
        ("red blood-cell", "Red_Blood Cell", SAME_NAME),
        ("__Cat ", "cat", SAME_NAME),
        ("C", "C++", ""),
        ("C++", "C#", ""),
        ("A-", "A", ""),
        ("1.5", "15", ""),
        ("1 5", "15", ""),
        ("+1", "-1", ""),
        ("-1", "1", ""),
        ("platelet", "Platelets", "singular and plural"),
        ("box", "boxes", "singular and plural"),
        ("berry", "berries", "singular and plural"),
        ("car", "cat", ""),
        ("platelet", "plaetlet", "1 letter apart"),
        ("traffic light", "trafic lihgt", "2 letters apart"),
        ("bicycle", "motorcycle", ""),
        ("dog", "dogs and cats", ""),
    ],
)
def test_likeness(name: str, other: str, expected: str) -> None:
    assert likeness(name, other) == expected
    assert likeness(other, name) == expected


def naive_distance(first: str, second: str) -> int:
    if not first or not second:
        return len(first) + len(second)
    choices = [
        naive_distance(first[1:], second) + 1,
        naive_distance(first, second[1:]) + 1,
        naive_distance(first[1:], second[1:]) + (first[0] != second[0]),
    ]
    if first[:2] == second[1::-1] and len(first) > 1 and len(second) > 1:
        choices.append(naive_distance(first[2:], second[2:]) + 1)
    return min(choices)


@given(first=st.text("abc", max_size=4), second=st.text("abc", max_size=4))
def test_edit_distance_equals_the_definition(first: str, second: str) -> None:
    assert edit_distance(first, second) == naive_distance(first, second)


def test_foreign_names_with_what_was_meant(tmp_path: Path) -> None:
    parts = {"train": [image("a", "cat", "platelet")], "test": [image("b", "Cat", "platelets", "bird", "cat")]}

    findings = drift(write_voc(tmp_path, parts), "train", "test")

    assert [finding.kind for finding in findings] == ["foreign-class", "similar-classes"]
    assert findings[0].message == (
        f"has classes that split 'train' lacks: Cat (perhaps 'cat': {SAME_NAME}), bird, "
        "platelets (perhaps 'platelet': singular and plural)"
    )


def test_two_names_of_one_split(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": [image("a", "cat", "Cat", "dogs", "dog", "car", "cab")]})

    findings = drift(root, "train")

    assert [str(finding) for finding in findings] == [
        f"split train: has the classes 'Cat' (1 objects) and 'cat' (1): {SAME_NAME}; "
        "give them one name if they are one class",
        "split train: has the classes 'dog' (1 objects) and 'dogs' (1): singular and plural; "
        "give them one name if they are one class",
    ]


def test_classes_without_a_training_object(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": [image("a", "cat")], "val": [image("b", "cat", "dog", "dog")]})

    (finding,) = drift(root, "train", "val")

    assert finding.kind == "untaught-class"
    assert finding.message == "has objects of classes of which split 'train' has none to learn from: dog (2)"


def test_ignored_objects_teach_nothing(tmp_path: Path) -> None:
    crowd = ToyImage("a", (40, 60), (ToyObject("cat", (0, 0, 20, 20)), ToyObject("dog", (1, 0, 21, 20), ignore=True)))
    root = write_coco(tmp_path, {"train": [crowd], "val": [image("b", "cat", "dog")]})

    (finding,) = drift(root, "train", "val")

    assert (finding.kind, finding.file) == ("untaught-class", "split val")
    assert finding.message.endswith("has none to learn from: dog (1)")


def test_background_as_a_class(tmp_path: Path) -> None:
    ids = {"__background__": 0, "cat": 1}

    (finding,) = drift(write_coco(tmp_path, {"train": [image("a", "cat")]}, ids), "train")

    assert (finding.kind, finding.message) == ("background-class", "class 0 is '__background__', with 0 objects")


def test_ids_that_differ_between_jsons(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": [image("a", "cat", "dog")], "val": [image("b", "cat", "dog")]})
    path = root / "annotations/instances_val.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for entry in document["categories"]:
        entry["id"] -= 1
    for entry in document["annotations"]:
        entry["category_id"] -= 1
    path.write_text(json.dumps(document), encoding="utf-8")

    (finding,) = drift(root, "train", "val")

    assert finding.kind == "class-id"
    assert finding.message == (
        "has other category ids than split 'train': bird is 0, not 1, cat is 1, not 2, dog is 2, not 3"
    )


def test_names_that_are_only_signs_are_no_pair(tmp_path: Path) -> None:
    assert drift(write_voc(tmp_path, {"train": [image("a", "+", "-")]}), "train") == []

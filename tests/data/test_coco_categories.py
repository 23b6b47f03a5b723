"""Roboflow exports a category that only groups the others; it is no class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.errors import InputError
from detection.results_file import read_detections
from tests.builders import ToyImage, ToyObject, coco_document, write_pixels
from tests.data.contracts import assert_valid_data, only_finding

IMAGE = ToyImage("a", (40, 60), (ToyObject("cells", (0, 0, 20, 20)),))


def category(category_id: int, name: str, supercategory: object) -> dict[str, Any]:
    return {"id": category_id, "name": name, "supercategory": supercategory}


def read_with_categories(root: Path, *categories: dict[str, Any], used_id: int = 1) -> DetectionData:
    """A data set with these categories and one object of the category ``used_id``."""
    document = coco_document([IMAGE], {"cells": used_id}) | {"categories": categories}
    write_pixels(root / "train", [IMAGE])
    (root / "train/_annotations.coco.json").write_text(json.dumps(document), encoding="utf-8")
    data = load_dataset(root, "train")
    assert_valid_data(data)
    return data


@pytest.mark.parametrize("group", ["cells", "microscope"])
def test_unused_group_is_left_out(tmp_path: Path, group: str) -> None:
    data = read_with_categories(tmp_path, category(0, group, "none"), category(1, "cells", group))

    assert (data.class_names, data.category_ids) == (("cells",), (1,))
    assert data.images[0].labels.tolist() == [0]
    finding = only_finding(data.findings, "group-category")
    assert str(finding) == (
        f"train/_annotations.coco.json: category '{group}' (id 0) only groups other categories; no annotation uses it; "
        "delete it; left out"
    )


def test_results_for_a_group_are_left_out_with_a_warning(tmp_path: Path) -> None:
    data = read_with_categories(tmp_path, category(2, "micro", "none"), category(1, "cells", "micro"))
    row = {"image_id": data.images[0].image_id, "bbox": [0, 0, 20, 20], "score": 0.5}
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{**row, "category_id": 1}, {**row, "category_id": 2}]), encoding="utf-8")

    read = read_detections(results, data)

    assert read.detections[data.images[0].image_id].labels.tolist() == [0]
    assert read.warnings == ("1 detections were left out: 'train' has none of the classes 'micro'",)


def test_many_groups_are_one_finding(tmp_path: Path) -> None:
    entries = [category(2, "a", "none"), category(3, "b", "a"), category(1, "cells", "b")]

    data = read_with_categories(tmp_path, *entries)

    assert data.class_names == ("cells",)
    assert "category 'a' (id 2), 'b' (id 3) only" in only_finding(data.findings, "group-category").message


def test_group_with_objects_is_a_class(tmp_path: Path) -> None:
    data = read_with_categories(tmp_path, category(1, "cells", "none"), category(5, "round", "cells"))

    assert data.class_names == ("cells", "round")
    assert data.findings == ()


def test_used_group_of_the_same_name_is_ambiguous(tmp_path: Path) -> None:
    entries = [category(0, "cells", "none"), category(1, "cells", "cells")]

    with pytest.raises(InputError, match="class name cells stands more than once"):
        read_with_categories(tmp_path, *entries, used_id=0)


@pytest.mark.parametrize("supercategory", [None, "", 7, ["dog"], "dog"])
def test_unused_class_that_groups_no_other_is_kept(tmp_path: Path, supercategory: object) -> None:
    """COCO's own person is in the group person."""
    data = read_with_categories(tmp_path, category(1, "cells", supercategory), category(2, "dog2", "dog2"))

    assert data.class_names == ("cells", "dog2")
    assert data.findings == ()

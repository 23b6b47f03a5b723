"""Corners written where sizes belong, told from the numbers alone; and annotations numbered from 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detection.data.discover import load_dataset
from detection.data.records import DetectionData, Finding
from tests.builders import ToyImage, ToyObject, random_boxes, write_coco

SIZE_HW = (100, 100)


def read_with(tmp_path: Path, bboxes: list[list[float]], first_id: int = 1) -> DetectionData:
    objects = tuple(ToyObject("cat", (0, 0, 10 + i, 10)) for i in range(len(bboxes)))
    root = write_coco(tmp_path, {"train": [ToyImage("a", SIZE_HW, objects)]})
    path = root / "annotations/instances_train.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for number, (annotation, bbox) in enumerate(zip(document["annotations"], bboxes, strict=True), start=first_id):
        annotation |= {"id": number, "bbox": bbox}
    path.write_text(json.dumps(document), encoding="utf-8")
    return load_dataset(root, "train")


def of_kind(data: DetectionData, kind: str) -> list[Finding]:
    return [finding for finding in data.findings if finding.kind == kind]


def test_few_leave_the_image_but_every_one_fits_as_corners(tmp_path: Path) -> None:
    # 28 corners near the upper left corner of the image, which fit as sizes too, and two that do not.
    corners = [[1.0 + i, 1.0, 11.0 + i, 11.0] for i in range(28)] + [[60.0, 1.0, 90.0, 9.0], [1.0, 60.0, 9.0, 90.0]]

    (finding,) = of_kind(read_with(tmp_path, corners), "misread-boxes")

    assert finding.message == (
        "2 of 30 boxes leave their image as [x, y, width, height] but fit as [x1, y1, x2, y2], the first: "
        "annotation 29 of a.jpg with [60.0, 1.0, 90.0, 9.0]; of all boxes 30 fit so"
    )


@pytest.mark.parametrize("num_boxes", [19, 20])
def test_unanimity_counts_from_twenty_boxes_on(tmp_path: Path, num_boxes: int) -> None:
    corners = [[1.0 + i, 1.0, 11.0 + i, 11.0] for i in range(num_boxes - 2)]
    corners += [[60.0, 1.0, 90.0, 9.0], [1.0, 60.0, 9.0, 90.0]]

    assert len(of_kind(read_with(tmp_path, corners), "misread-boxes")) == (num_boxes >= 20)


def test_true_sizes_with_some_bad_boxes_are_not_suspected(tmp_path: Path) -> None:
    boxes = random_boxes(np.random.default_rng(0), 40, SIZE_HW)
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    sizes[:4] = [[60.0, 1.0, 90.0, 9.0], [70.0, 1.0, 90.0, 9.0], [1.0, 60.0, 9.0, 90.0], [1.0, 70.0, 9.0, 90.0]]

    assert of_kind(read_with(tmp_path, sizes), "misread-boxes") == []


@pytest.mark.parametrize("num_boxes", [10, 30])
@pytest.mark.parametrize(("overhang", "is_suspect"), [(2.5, False), (10, False), (11, True)])
def test_true_sizes_of_large_objects_drawn_beyond_the_border(
    tmp_path: Path, num_boxes: int, overhang: float, is_suspect: bool
) -> None:
    # Wider than left and higher than top, so that every one of them would do as corners.
    boxes = [[20.0 + i, 2.0, 80.0 + overhang - i, 60.0] for i in range(num_boxes)]

    data = read_with(tmp_path, boxes)

    assert len(of_kind(data, "clipped-box")) == num_boxes
    assert len(of_kind(data, "misread-boxes")) == is_suspect


def test_annotation_id_0(tmp_path: Path) -> None:
    (finding,) = of_kind(read_with(tmp_path, [[1.0, 1.0, 9.0, 9.0]], first_id=0), "zero-id")

    assert str(finding) == (
        "annotations/instances_train.json: annotation 0 of a.jpg has the id 0, which pycocotools counts as not found; "
        "number annotations from 1; of no effect here"
    )
    assert of_kind(read_with(tmp_path / "from 1", [[1.0, 1.0, 9.0, 9.0]]), "zero-id") == []

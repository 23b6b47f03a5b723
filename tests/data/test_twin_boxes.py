"""Boxes that probably mean one object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from detection.data import twin_boxes
from detection.data.discover import load_dataset
from detection.data.records import Finding
from detection.data.twin_boxes import MIN_IOU, find_twin_boxes
from tests.builders import ToyImage, ToyObject, random_boxes, write_voc
from tests.data.contracts import only_finding


def twins(tmp_path: Path, *objects: ToyObject) -> list[Finding]:
    return list(
        find_twin_boxes([load_dataset(write_voc(tmp_path, {"train": [ToyImage("a", (40, 60), objects)]}), "train")])
    )


def test_nearly_the_same_box(tmp_path: Path) -> None:
    # 20 x 30 = 600 and 20 x 29 = 580, one inside the other: IoU 580 / 600 = 0.967.
    finding = only_finding(
        twins(tmp_path, ToyObject("cat", (0, 0, 20, 30)), ToyObject("cat", (0, 0, 20, 29))), "twin-box"
    )

    assert finding.file == "a.jpg"
    assert finding.message == (
        "two boxes of 'cat' nearly cover each other: x1 0, y1 0, x2 20, y2 30 and x1 0, y1 0, x2 20, y2 29"
    )


def test_one_box_of_two_classes(tmp_path: Path) -> None:
    box = (0.0, 0.0, 20.0, 30.0)
    finding = only_finding(
        twins(tmp_path, ToyObject("cat", box), ToyObject("dog", box), ToyObject("bird", box)), "two-class-box"
    )

    assert finding.message == "the box x1 0, y1 0, x2 20, y2 30 is both 'cat' and 'dog', as are 2 more pairs"


def test_pairs_of_many_boxes_equal_a_second_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin_boxes, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    drawn = random_boxes(rng, 30, (40, 60))
    boxes = np.concatenate([drawn, drawn[:20] + rng.uniform(0, 0.3, (20, 4))]).astype(np.float32)

    earlier, later = twin_boxes._overlapping_pairs(boxes)

    iou = torchvision.ops.box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    expected = np.argwhere(np.triu(iou >= MIN_IOU, k=1))
    assert np.stack([earlier, later], axis=1).tolist() == expected.tolist()
    assert len(expected) >= 15


def test_what_is_no_twin(tmp_path: Path) -> None:
    assert (
        twins(
            tmp_path,
            ToyObject("cat", (0, 0, 20, 30)),
            ToyObject("cat", (0, 0, 20, 26)),  # IoU 520 / 600 = 0.867
            ToyObject("cat", (0, 0, 20, 29), ignore=True),
            ToyObject("dog", (0, 0, 20, 29)),  # Another class, and not the very same box.
        )
        == []
    )
    assert twins(tmp_path / "one", ToyObject("cat", (0, 0, 20, 30))) == []
    assert twins(tmp_path / "none") == []

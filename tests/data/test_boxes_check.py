"""The check of raw boxes alone: any numbers may come in, only usable boxes go out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detection.data.boxes_check import PackedObjects, classify_boxes, clip_boxes, first_of_equals
from detection.data.discover import load_dataset
from tests.builders import ToyImage, ToyObject, write_coco

SIZE_HW = (40, 60)
ANY_BOXES = hnp.arrays(
    np.float64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.floats(-100, 200) | st.floats(allow_nan=True)
)


def sizes(num_boxes: int) -> npt.NDArray[np.int64]:
    return np.tile(np.array(SIZE_HW), (num_boxes, 1))


def pack(boxes: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> PackedObjects:
    num_objects = len(boxes)
    return PackedObjects(
        row=np.arange(num_objects),
        image_index=np.arange(num_objects) % 2,
        values=boxes,
        boxes=boxes,
        labels=labels,
        ignore=np.zeros(num_objects, np.bool_),
        area=np.zeros(num_objects),
        sizes_hw=sizes(num_objects),
    )


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((0, 0, 60, 40), ""),
        ((0, 0, 40, 60), "clipped-box"),  # Height and width are not mixed up.
        ((-1, -1, 61, 41), ""),
        ((-1.01, 0, 30, 30), "clipped-box"),
        ((5, 5, 6, 6), ""),
        ((5, 5, 5.9991, 6), ""),
        ((5, 5, 5.99, 6), "tiny-box"),
        ((5, 5, 5, 6), "degenerate-box"),
        ((5, 6, 9, 5), "degenerate-box"),
        ((5, 5, 5 + 1e-9, 6), "degenerate-box"),  # Nothing is left of it in float32.
        ((60 - 1e-9, 5, 90, 9), "outside-box"),
        ((60, 5, 70, 9), "outside-box"),
        ((-9, -9, -1, -1), "outside-box"),
        ((5, 5, np.inf, 9), "non-finite-box"),
        ((np.nan, 5, 8, 9), "non-finite-box"),
        ((5, np.nan, 5, 9), "non-finite-box"),
    ],
)
def test_classify(box: tuple[float, ...], fault: str) -> None:
    assert classify_boxes(np.array([box], np.float64), sizes(1)).tolist() == [fault]


def test_slivers_leave_no_box_without_area_in_a_record(tmp_path: Path) -> None:
    image = ToyImage("a", SIZE_HW, (ToyObject("cat", (60 - 1e-6, 5, 90, 9)), ToyObject("cat", (5, 5, 25, 25))))
    data = load_dataset(write_coco(tmp_path, {"train": [image]}), "train")
    assert data.images[0].boxes.tolist() == [[5, 5, 25, 25]]
    assert [finding.kind for finding in data.findings] == ["outside-box"]


def test_no_boxes() -> None:
    nothing = np.zeros((0, 4))

    assert classify_boxes(nothing, sizes(0)).shape == (0,)
    assert clip_boxes(nothing, sizes(0)).shape == (0, 4)
    assert first_of_equals(pack(nothing, np.zeros(0, np.int64))).shape == (0,)


@given(boxes=ANY_BOXES)
def test_usable_boxes_are_inside_and_not_empty(boxes: npt.NDArray[np.float64]) -> None:
    faults = classify_boxes(boxes, sizes(len(boxes)))

    usable = clip_boxes(boxes, sizes(len(boxes)))[np.isin(faults, ["", "clipped-box"])]

    assert (usable >= 0).all()
    assert (usable <= [60, 40, 60, 40]).all()
    assert (usable[:, 2:] - usable[:, :2] >= 0.998).all()
    moved = np.abs(clip_boxes(boxes, sizes(len(boxes))) - boxes)[faults == ""]
    assert (moved <= 1).all()


@given(
    boxes=hnp.arrays(np.float64, st.tuples(st.integers(0, 20), st.just(4)), elements=st.integers(0, 1)),
    seed=st.integers(0, 9),
)
def test_repeats_equal_a_naive_search(boxes: npt.NDArray[np.float64], seed: int) -> None:
    objects = pack(boxes, np.random.default_rng(seed).integers(0, 2, len(boxes)))
    keys = [
        (int(image), int(label), tuple(box))
        for image, label, box in zip(objects.image_index, objects.labels, objects.boxes.tolist(), strict=True)
    ]

    assert first_of_equals(objects).tolist() == [keys.index(key) for key in keys]

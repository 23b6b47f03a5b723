"""The figures of a split, counted by hand."""

from __future__ import annotations

from pathlib import Path

from detection.data.discover import load_dataset
from detection.data.statistics import MAX_IMAGE_SIZES, summarize_split
from tests.builders import ToyImage, ToyObject, write_coco


def test_histograms(tmp_path: Path) -> None:
    objects = (
        ToyObject("cat", (0, 0, 8, 8)),  # side 8, 1:1
        ToyObject("cat", (0, 0, 4, 9)),  # side 6, 4:9
        ToyObject("dog", (0, 0, 60, 10)),  # side 24.5, 6:1
        ToyObject("dog", (0, 0, 40, 40)),  # side 40, 1:1
    )
    root = write_coco(tmp_path, {"train": [ToyImage("a", (40, 60), objects), ToyImage("b", (40, 60))]})

    summary = summarize_split(load_dataset(root, "train"))

    assert {name: count for name, count in summary.box_sides.items() if count} == {
        "below 8": 1, "8 to 16": 1, "16 to 32": 1, "32 to 64": 1,
    }  # fmt: skip
    assert {name: count for name, count in summary.box_shapes.items() if count} == {
        "1:4 to 1:2": 1, "3:4 to 4:3": 2, "from 4:1": 1,
    }  # fmt: skip
    assert {name: count for name, count in summary.objects_per_image.items() if count} == {"0": 1, "4 to 7": 1}
    assert list(summary.objects_per_image)[:4] == ["0", "1", "2 to 3", "4 to 7"]
    assert summary.image_sizes == {"60x40": 2}
    assert summary.category_ids == {"bird": 1, "cat": 2, "dog": 3}


def test_rare_image_sizes_are_put_together(tmp_path: Path) -> None:
    images = [ToyImage(f"a{i}", (40, 50 + i)) for i in range(MAX_IMAGE_SIZES + 3)]
    summary = summarize_split(
        load_dataset(write_coco(tmp_path, {"train": [*images, ToyImage("b", (40, 55))]}), "train")
    )

    assert next(iter(summary.image_sizes.items())) == ("55x40", 2)
    assert summary.image_sizes["other sizes"] == 3
    assert sum(summary.image_sizes.values()) == summary.num_images


def test_no_objects(tmp_path: Path) -> None:
    summary = summarize_split(load_dataset(write_coco(tmp_path, {"train": [ToyImage("b", (40, 60))]}), "train"))

    assert set(summary.box_sides.values()) == set(summary.box_shapes.values()) == {0}
    assert summary.smallest_box_wh is None

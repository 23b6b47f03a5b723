"""Shares of a part: the same images every time, each on one side."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.data.discover import load_dataset
from detection.data.shares import Share, parse_share
from detection.errors import InputError
from tests.builders import toy_images, write_coco, write_voc, write_yolo


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", None),
        ("all:80%", Share("all", 80, False)),
        ("all:-20%", Share("all", 20, True)),
        ("80%", Share(None, 80, False)),
        ("-5%", Share(None, 5, True)),
        ("a:b:50%", Share("a:b", 50, False)),
        ("all:80", None),
        ("80%:all", None),
    ],
)
def test_what_a_name_asks_for(split: str, expected: Share | None) -> None:
    assert parse_share(split) == expected


@pytest.mark.parametrize("split", ["all:0%", "all:100%", "-0%", "250%"])
def test_nothing_and_everything_are_no_shares(split: str) -> None:
    with pytest.raises(InputError, match="between 1% and 99%"):
        parse_share(split)


@pytest.mark.parametrize("percent", [1, 33, 50, 67, 99])
def test_a_share_and_its_rest_hold_each_image_once(tmp_path: Path, percent: int) -> None:
    root = write_coco(tmp_path, {"default": toy_images(11)})
    whole = load_dataset(root, "default")
    first, rest = load_dataset(root, f"{percent}%"), load_dataset(root, f"default:-{100 - percent}%")
    assert len(first.images) == round(11 * percent / 100)
    names = [record.file_name for record in whole.images]
    shares = [{record.file_name for record in part.images} for part in (first, rest)]
    assert shares[0] | shares[1] == set(names)
    assert not shares[0] & shares[1]
    assert [record.file_name for record in first.images] == [name for name in names if name in shares[0]]
    assert (first.split, rest.split) == (f"default:{percent}%", f"default:-{100 - percent}%")
    assert first.class_names == rest.class_names == whole.class_names


def test_a_share_is_shuffled_and_the_same_in_every_format(tmp_path: Path) -> None:
    images = toy_images(14)
    coco = load_dataset(write_coco(tmp_path / "coco", {"all": images}), "all:50%")
    voc = load_dataset(write_voc(tmp_path / "voc", {"all": images}), "all:50%")
    chosen = {Path(record.file_name).name for record in coco.images}
    assert chosen == {Path(record.file_name).name for record in voc.images}
    yolo = load_dataset(write_yolo(tmp_path / "yolo", {"train": images}), "train:50%")  # with folders in its names
    assert chosen == {Path(record.file_name).name for record in yolo.images}
    names = sorted(Path(image.file_name).name for image in load_dataset(tmp_path / "voc", "all").images)
    assert chosen != set(names[:7])
    assert chosen != set(names[7:])


def test_one_more_image_moves_at_most_one_other(tmp_path: Path) -> None:
    before = load_dataset(write_voc(tmp_path / "a", {"all": toy_images(13)}), "80%")
    after = load_dataset(write_voc(tmp_path / "b", {"all": toy_images(14)}), "80%")
    names = [{record.file_name for record in data.images} for data in (before, after)]
    assert len(names[0] - names[1]) <= 1


def test_a_share_of_several_parts_needs_a_name(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"summer": toy_images(2), "winter": toy_images(2, prefix="w")})
    with pytest.raises(InputError, match="has the parts summer, winter; say of which: summer:80%"):
        load_dataset(root, "80%")
    with pytest.raises(InputError, match="spring"):
        load_dataset(root, "spring:80%")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("67%", "-33%", False),
        ("67%", "-34%", True),
        ("20%", "50%", True),
        ("-1%", "-99%", True),
        ("50%", "-50%", False),
    ],
)
def test_shares_that_overlap(one: str, other: str, expected: bool) -> None:
    first, second = parse_share(one), parse_share(other)
    assert first is not None
    assert second is not None
    assert first.overlaps(second) is second.overlaps(first) is expected

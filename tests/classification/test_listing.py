"""Layouts of classification data sets are told apart, and broken ones are named."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from detection.classification.listing import Listing, Part, list_part, open_archive
from detection.data import image
from detection.errors import InputError
from tests.builders import random_pixels
from tests.classification.pictures import COLOURS, class_files, write_folder, write_zip

CLASSES = tuple(sorted(COLOURS))


def listed(data: Path, part: Part) -> Listing:
    with open_archive(data) as archive:
        return list_part(archive, part)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("root", ["", "around/again/"])
def test_parts_with_class_folders(tmp_path: Path, zipped: bool, root: str) -> None:
    files = {**class_files(f"{root}train/", 3), **class_files(f"{root}val/", 2)}
    files[f"{root}train/red/.hidden.png"] = files[f"{root}train/notes.txt"] = b"x"
    data = write_zip(tmp_path / "d.zip", files) if zipped else write_folder(tmp_path, files)
    train, val = listed(data, "train"), listed(data, "val")
    assert train.class_names == val.class_names == CLASSES
    assert train.names == tuple(f"{root}train/{name}/{n}.png" for name in CLASSES for n in range(3))
    assert train.labels == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert val.names == tuple(f"{root}val/{name}/{n}.png" for name in CLASSES for n in range(2))


def test_class_folders_alone_hold_every_tenth_image_out(tmp_path: Path) -> None:
    data = write_folder(tmp_path, class_files("", 12))
    train, val = listed(data, "train"), listed(data, "val")
    assert set(train.names) | set(val.names) == {f"{name}/{n}.png" for name in CLASSES for n in range(12)}
    assert not set(train.names) & set(val.names)
    assert [val.labels.count(label) for label in range(3)] == [2, 2, 2]  # the first and the eleventh


def test_training_folders_alone_hold_images_out_too(tmp_path: Path) -> None:
    data = write_folder(tmp_path, {**class_files("train/", 12), "train/single/0.png": b"x"})
    train, val = listed(data, "train"), listed(data, "val")
    assert not set(train.names) & set(val.names)
    assert len(val.names) == 6
    assert train.class_names == val.class_names == (*CLASSES, "single")
    assert "train/single/0.png" in train.names  # a class of one image is learnt, not judged


def test_a_flat_validation_folder_is_an_error(tmp_path: Path) -> None:
    data = write_folder(tmp_path, {**class_files("train/", 2), "val/0.png": b"x"})
    with pytest.raises(InputError, match=r"val/0\.png: val/ holds images and no class folders"):
        listed(data, "val")


def test_the_layout_of_tiny_imagenet(tmp_path: Path) -> None:
    files = {f"tiny/train/{k}/images/{k}_{n}.png": v for k in CLASSES for n, v in enumerate([b"a", b"b"])}
    files |= {f"tiny/val/images/val_{n}.png": b"c" for n in range(3)}
    files["tiny/val/val_annotations.txt"] = (
        b"val_0.png\tred\t0\t0\t9\t9\nval_2.png\tblue\t1\t1\t2\t2\nval_9.png\tred\t0\n"
    )
    files["tiny/train/red/red_boxes.txt"] = b"red_0.png\t0\t0\t9\t9\n"
    data = write_zip(tmp_path / "tiny.zip", files)
    assert len(listed(data, "train").names) == 6
    val = listed(data, "val")
    assert val.names == ("tiny/val/images/val_2.png", "tiny/val/images/val_0.png")
    assert val.labels == (CLASSES.index("blue"), CLASSES.index("red"))


def test_validation_classes_must_be_learnt(tmp_path: Path) -> None:
    files = {**class_files("train/", 1), "val/purple/0.png": b"x", "val/red/0.png": b"x"}
    with pytest.raises(InputError, match="1 classes of the validation part are not in the training part: purple"):
        listed(write_folder(tmp_path, files), "val")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.png": b"x", "b.png": b"x"}, "found no class with images; expected class folders"),
        ({"one/a.png": b"x", "one/b.png": b"x", "c.png": b"x"}, "found the class one with images"),
        ({"words.txt": b"x"}, "found no class"),
    ],
)
def test_without_two_classes_it_says_what_it_found(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        listed(write_folder(tmp_path / "data", files), "train")


def test_what_is_neither_folder_nor_zip_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file or folder; expected class folders"):
        listed(tmp_path / "nowhere", "train")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(InputError, match=r"text\.zip: neither a folder nor a readable zip"):
        listed(tmp_path / "text.zip", "train")


def test_a_member_that_would_unpack_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "MAX_FILE_BYTES", 10)
    data = write_zip(tmp_path / "d.zip", {"a/0.png": bytes(11), "b/0.png": bytes(10)})
    with open_archive(data) as archive:
        assert archive.read("b/0.png") == bytes(10)
        with pytest.raises(InputError, match=r"a/0\.png: 11 bytes, more than the limit of 10"):
            archive.read("a/0.png")
    folder = write_folder(tmp_path / "d", {"a/0.png": bytes(11)})
    with open_archive(folder) as archive, pytest.raises(InputError, match=r"a/0\.png: 11 bytes, more than the limit"):
        archive.read("a/0.png")


def test_a_damaged_member_of_another_packing_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("a/0.png", random_pixels((40, 40)).tobytes())
        info = file.getinfo("a/0.png")
    content = bytearray((tmp_path / "d.zip").read_bytes())
    content[info.header_offset + 60] ^= 0xFF
    (tmp_path / "d.zip").write_bytes(content)
    with open_archive(tmp_path / "d.zip") as archive, pytest.raises(InputError, match=r"a/0\.png: cannot be unpacked"):
        archive.read("a/0.png")


def test_a_list_left_behind_by_a_rearrangement_does_not_hide_the_class_folders(tmp_path: Path) -> None:
    files = {f"train/{k}/images/{n}.png": b"x" for k in CLASSES for n in range(12)}
    files |= {f"val/{k}/images/{n}.png": b"x" for k in CLASSES for n in range(2)}
    files["val/val_annotations.txt"] = b"0.png\tred\t0\t0\t1\t1\n"
    data = write_folder(tmp_path, files)
    assert set(listed(data, "val").names) == {name for name in files if name.startswith("val/") and "images" in name}
    assert len(listed(data, "train").names) == 36

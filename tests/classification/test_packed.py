"""Packed images are the images, and what could not be read is told."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from detection.classification import packed as packed_module
from detection.classification.batches import ViewSet
from detection.classification.packed import pack_part, unreadable_lines
from detection.data.augment import CropSettings
from detection.data.colour import ColourSettings
from detection.errors import InputError
from detection.preprocess import resize
from tests.classification.pictures import COLOURS, class_files, picture, png, write_folder, write_zip


def training_files(count: int) -> dict[str, bytes]:
    """``count`` training images of each class; with a validation part none of them is held out."""
    return {**class_files("train/", count), **class_files("val/", 1)}


def test_a_pack_holds_the_pixels_of_images_of_any_size(tmp_path: Path) -> None:
    sizes = [(40, 48), (13, 7), (64, 90)]
    originals = {f"train/{name}/0.png": picture(COLOURS[name], 1, s) for name, s in zip(COLOURS, sizes, strict=True)}
    data = write_zip(tmp_path / "d.zip", {name: png(pixels) for name, pixels in originals.items()})
    pack = pack_part(data, "train", tmp_path / "packs", shorter_side=32)
    assert len(pack) == 3
    assert pack.class_names == ("blue", "green", "red")
    assert pack.labels.tolist() == [0, 1, 2]
    for index, name in enumerate(pack.names):
        pixels = originals[name]
        height, width = pixels.shape[:2]
        scale = min(1.0, 32 / min(height, width))
        expected = resize(pixels, (round(height * scale), round(width * scale)))
        np.testing.assert_array_equal(pack.image(index), expected)
    assert pack.image(1).shape == (13, 7, 3)  # never enlarged


def test_a_pack_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_zip(tmp_path / "d.zip", training_files(2))
    first = pack_part(data, "train", tmp_path / "packs", shorter_side=20)

    def refuse(content: bytes, name: str) -> None:
        raise AssertionError(f"{name} is decoded again")

    monkeypatch.setattr(packed_module, "decode_image", refuse)
    again = pack_part(data, "train", tmp_path / "packs", shorter_side=20)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    with pytest.raises(AssertionError, match="decoded again"):  # another size is another pack
        pack_part(data, "train", tmp_path / "packs", shorter_side=21)


def test_a_pack_that_was_cut_off_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_folder(tmp_path / "d", training_files(2))

    def stop_half_way(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_part(data, "train", tmp_path / "packs", shorter_side=20, progress=stop_half_way)
    assert len(pack_part(data, "train", tmp_path / "packs", shorter_side=20)) == 6


def test_broken_images_are_left_out_and_told(tmp_path: Path) -> None:
    files = training_files(2) | {"train/red/9.png": b"no picture", "train/red/8.png": b""}
    pack = pack_part(write_folder(tmp_path / "d", files), "train", tmp_path / "packs", shorter_side=20)
    assert len(pack) == 6
    lines = unreadable_lines([pack])
    assert lines[-1] == "2 images left out"
    assert any("train/red/9.png: not an image" in line for line in lines)
    assert any("train/red/8.png: 0 bytes" in line for line in lines)
    assert unreadable_lines([]) == []


def test_a_damaged_member_of_a_zip_is_left_out(tmp_path: Path) -> None:
    data = write_zip(tmp_path / "d.zip", training_files(2))
    content = bytearray(data.read_bytes())
    with zipfile.ZipFile(data) as file:
        info = file.getinfo("train/green/1.png")
    content[info.header_offset + 100] ^= 0xFF
    data.write_bytes(content)
    pack = pack_part(data, "train", tmp_path / "packs", shorter_side=20)
    assert len(pack) == 5
    assert "train/green/1.png: cannot be unpacked" in pack.unreadable["train/green/1.png"]


def test_a_mended_image_of_a_folder_is_packed_anew(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "d", training_files(2) | {"train/red/9.png": b"junk"})
    assert len(pack_part(data, "train", tmp_path / "packs", shorter_side=20)) == 6
    (data / "train/red/9.png").write_bytes((data / "train/red/0.png").read_bytes())
    assert len(pack_part(data, "train", tmp_path / "packs", shorter_side=20)) == 7


def test_strips_are_left_out(tmp_path: Path) -> None:
    strip = np.zeros((2, 101, 3), dtype=np.uint8)
    files = training_files(1) | {"train/red/9.png": png(strip), "train/red/8.png": png(strip[:, :100])}
    pack = pack_part(write_folder(tmp_path / "d", files), "train", tmp_path / "packs", shorter_side=20)
    assert list(pack.unreadable) == ["train/red/9.png"]
    assert "101x2 pixels, a strip" in pack.unreadable["train/red/9.png"]


def test_a_pack_is_sent_to_another_process_by_its_place(tmp_path: Path) -> None:
    pack = pack_part(write_folder(tmp_path / "d", training_files(3)), "train", tmp_path / "p", shorter_side=40)
    settings = CropSettings(0.5, 4 / 3, False, 0.5, ColourSettings(0.1, 0.1, 0.1))
    sent = pickle.dumps(ViewSet(pack, settings))
    assert len(sent) < len(pack.pixels) / 10
    np.testing.assert_array_equal(pickle.loads(sent).packed.pixels, pack.pixels)


def test_a_part_without_one_good_image_is_an_error(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "d", {"train/a/0.png": b"", "train/b/0.png": b""})
    with pytest.raises(InputError, match=r"d: not one image of the part 'train' could be read; the first: train/a/0"):
        pack_part(data, "train", tmp_path / "packs", shorter_side=20)

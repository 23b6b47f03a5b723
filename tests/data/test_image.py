"""Every kind of image file comes out as upright 8-bit RGB, or with a reason why not."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detection.data.image import IMAGE_SUFFIXES, find_images, read_image, read_image_header
from detection.errors import InputError
from tests.builders import random_pixels, save_image
from tests.orientations import SIDES, exif, stored_pixels

SIZE_HW = (16, 24)
LOSSLESS = ("png", "bmp", "tif", "ppm")


def blocks(size_hw: tuple[int, int] = SIZE_HW) -> npt.NDArray[np.uint8]:
    """Constant 8x8 blocks: a JPEG of them decodes to the same pixels whichever way it is turned."""
    height, width = size_hw
    return random_pixels((height // 8, width // 8), seed=3).repeat(8, axis=0).repeat(8, axis=1)


def read_error(path: Path, **options: int) -> str:
    with pytest.raises(InputError) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_rgb_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    pixels = random_pixels(SIZE_HW)

    read = read_image(save_image(tmp_path / f"a.{suffix}", pixels))

    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    assert read.flags.c_contiguous


def test_jpeg_pixels_equal_opencv(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.jpg", random_pixels((48, 64)), quality=90)

    second_source = cv2.imread(str(path), cv2.IMREAD_COLOR)

    assert second_source is not None
    assert np.abs(read_image(path).astype(int) - second_source[:, :, ::-1]).max() <= 2  # Decoders round differently.


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", SIDES)
def test_all_exif_orientations_show_the_same_picture(tmp_path: Path, orientation: int, suffix: str) -> None:
    lossless: dict[str, dict[str, Any]] = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    options = lossless.get(suffix, {})
    stored = stored_pixels(blocks(), orientation)
    path = save_image(tmp_path / f"a.{suffix}", stored, exif=exif(orientation), **options)
    reference = read_image(save_image(tmp_path / f"upright.{suffix}", blocks(), **options))

    np.testing.assert_array_equal(read_image(path), reference)
    assert read_image_header(path).size_hw == SIZE_HW
    assert read_image_header(path) == (stored.shape[:2], orientation)


@pytest.mark.parametrize("dpi", [None, (72, 72)])
@pytest.mark.parametrize("block", [b"Exif\0\0no TIFF at all", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0"])
def test_a_damaged_exif_block_is_no_damaged_image(tmp_path: Path, block: bytes, dpi: tuple[int, int] | None) -> None:
    more = {} if dpi is None else {"dpi": dpi}
    path = save_image(tmp_path / "a.jpg", blocks(), exif=block, quality=100, subsampling=0, **more)
    plain = read_image(save_image(tmp_path / "b.jpg", blocks(), quality=100, subsampling=0))

    np.testing.assert_array_equal(read_image(path), plain)
    assert read_image_header(path) == (SIZE_HW, 1)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_orientation_outside_the_standard_means_upright(tmp_path: Path, orientation: int) -> None:
    path = save_image(tmp_path / "a.jpg", blocks(), exif=exif(orientation), subsampling=0, quality=100)

    assert read_image(path).shape == (*read_image_header(path).size_hw, 3) == (*SIZE_HW, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_grey_has_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    grey = blocks()[:, :, 0]

    read = read_image(save_image(tmp_path / f"a.{suffix}", grey, **({"quality": 100} if suffix == "jpg" else {})))

    assert np.abs(read.astype(int) - grey[:, :, None]).max() <= 1


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    """No ink is white, full cyan has no red; a JPEG stores the ink inverted, as Adobe does."""
    ink = np.zeros((8, 16, 4), np.uint8)
    ink[:, 8:, 0] = 255
    path = tmp_path / f"a.{suffix}"
    options: dict[str, Any] = {"quality": 100} if suffix == "jpg" else {}
    Image.fromarray(ink, mode="CMYK").save(path, **options)

    read = read_image(path).astype(int)

    assert np.abs(read[4, 2] - [255, 255, 255]).max() <= 2
    assert np.abs(read[4, 13] - [0, 255, 255]).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_the_high_byte(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.array([[0, 255, 256, 32767, 32768, 65535]], np.uint16))

    assert read_image(path)[0, :, 0].tolist() == [0, 0, 1, 127, 128, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_whose_white_is_zero(tmp_path: Path, dtype: type[np.uint8] | type[np.uint16]) -> None:
    Image.fromarray(np.array([[0, np.iinfo(dtype).max]], dtype)).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    interpretation = [struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0)]
    assert content.count(interpretation[0]) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(*interpretation))

    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 0]


def test_png_with_a_large_colour_profile(tmp_path: Path) -> None:
    pixels = random_pixels(SIZE_HW)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=bytes(1_300_000))

    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colour_keeps_the_high_byte(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    blue_green_red = np.array([[[256 * 3, 256 * 2 + 255, 256 * 1], [0, 32768, 65535]]], np.uint16)
    cv2.imwrite(str(path), blue_green_red)

    assert read_image(path).tolist() == [[[1, 2, 3], [255, 128, 0]]]


def test_16_bit_pgm(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 32768, 65535))

    assert read_image(path)[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_32_bit_pixels_are_refused(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    path = save_image(tmp_path / "a.tif", np.zeros((4, 4), dtype))

    assert "32-bit pixels, whose range is not known; save the image with 8 or 16 bits" in read_error(path)


def test_transparent_pixels_are_laid_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[9, 8, 7, 255], [9, 8, 7, 0], [0, 0, 0, 128]]], np.uint8)

    read = read_image(save_image(tmp_path / "a.png", rgba))

    assert read[0, :2].tolist() == [[9, 8, 7], [255, 255, 255]]
    assert read[0, 2].tolist() == [127, 127, 127]  # 255 * (1 - 128 / 255)


def test_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[[40, 255], [40, 0]]], np.uint8), mode="LA").save(path)

    assert read_image(path)[0, :, 0].tolist() == [40, 255]


def test_palette_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(np.array([[0, 1, 1, 0]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(path)
    assert read_image(path)[0, :2].tolist() == [[10, 20, 30], [200, 100, 50]]

    image.save(path, transparency=1)
    assert read_image(path)[0, :2].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_black_and_white(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", np.array([[True, False]]))

    assert read_image(path).tolist() == [[[255] * 3, [0] * 3]]


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    for suffix in ("gif", "webp", "png"):
        path = tmp_path / f"a.{suffix}"
        options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)

        assert (read_image(path) == [255, 0, 0]).all()
        assert read_image(path).shape == (4, 6, 3)


def test_one_pixel(tmp_path: Path) -> None:
    assert read_image(save_image(tmp_path / "a.png", random_pixels((1, 1)))).shape == (1, 1, 3)


def test_names_with_any_characters(tmp_path: Path) -> None:
    path = save_image(tmp_path / "Größe 画像 [1] é.png", random_pixels(SIZE_HW))

    assert read_image(path).shape == (*SIZE_HW, 3)
    assert read_image_header(path).size_hw == SIZE_HW


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", random_pixels(SIZE_HW)).rename(tmp_path / "a.jpg")

    np.testing.assert_array_equal(read_image(path), random_pixels(SIZE_HW))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files_are_errors_though_their_header_reads(tmp_path: Path, suffix: str, share: float) -> None:
    path = save_image(tmp_path / f"a.{suffix}", random_pixels((64, 64)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    message = read_error(path)

    assert "truncated" in message or "damaged" in message
    assert message.endswith("; copy or export the file again")
    assert {"jpg": "truncated JPEG", "png": "PNG", "bmp": "BMP", "tif": "TIFF", "webp": ""}[suffix] in message


def test_truncated_jpeg_with_a_thumbnail_is_noticed(tmp_path: Path) -> None:
    """The thumbnail brings an end marker of its own."""
    thumbnail = save_image(tmp_path / "thumbnail.jpg", random_pixels((8, 8))).read_bytes()
    block = b"Exif\0\0" + thumbnail
    path = save_image(tmp_path / "a.jpg", random_pixels((64, 64)), exif=block)
    path.write_bytes(path.read_bytes()[:-2000])

    assert path.read_bytes().count(b"\xff\xd9") == 1
    assert "truncated JPEG" in read_error(path)


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.jpg", random_pixels(SIZE_HW))
    expected = read_image(path)
    path.write_bytes(path.read_bytes() + b"\0" * 50 + b"trailer")

    np.testing.assert_array_equal(read_image(path), expected)


def test_an_image_too_large_for_the_memory_is_told_as_any_other_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_image(tmp_path / "large.png", random_pixels((4, 4)))

    def fail(image: Image.Image, *_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", fail)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(InputError, match=r"large\.png: no memory to decode it; shrink the image or cut it into tiles"):
        read_image(path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.touch()

    assert read_error(path).endswith(": 0 bytes; copy or export the file again")


def test_text_with_an_image_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("<html>not found</html>", encoding="utf-8")

    message = "not an image: starts with b'<html>not found<'; expected one of bmp, gif, jfif, jp2, jpe, jpeg"
    assert message in read_error(path)


def test_postscript_is_not_handed_to_an_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")

    assert "not an image: starts with b'%!PS" in read_error(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "No such file" in read_error(tmp_path / "a.jpg")
    assert "directory" in read_error(tmp_path)


def test_image_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))

    message = read_error(path)

    assert "2500000000 pixels" in message
    assert "limit of 178956970 pixels; cut the image into tiles or shrink it" in message
    with pytest.raises(InputError, match="limit of 178956970"):
        read_image_header(path)


def test_limit_on_pixels_can_be_set(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", random_pixels(SIZE_HW))

    assert "24x16 pixels, more than the limit of 383 pixels" in read_error(path, max_pixels=383)
    assert read_image(path, max_pixels=384).shape == (*SIZE_HW, 3)


def pixels_or_message(path: Path) -> npt.NDArray[np.uint8] | str:
    try:
        return read_image(path, max_pixels=1_000_000)
    except InputError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(data=st.data(), suffix=st.sampled_from(["jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "jp2"]))
def test_damaged_bytes_give_pixels_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    path = save_image(tmp_path_factory.mktemp("damaged") / f"a.{suffix}", random_pixels((12, 12)))
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, min(len(content), 160) - 1), min_size=1, max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])

    outcome = pixels_or_message(path)

    if isinstance(outcome, str):
        assert outcome.startswith(f"{path}: ")
    else:
        assert outcome.shape == (*read_image_header(path).size_hw, 3)


def test_find_images_is_sorted_and_passes_hidden_and_other_files_over(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "d.jfif", "sub/c.webp", ".hidden.png", "._a.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()

    assert [path.name for path in find_images(tmp_path)] == ["a.png", "b.JPG", "d.jfif"]
    assert [path.name for path in find_images(tmp_path, recursive=True)] == ["a.png", "b.JPG", "d.jfif", "c.webp"]
    assert find_images(tmp_path / "folder.png") == []
    with pytest.raises(InputError, match="nowhere: no such folder; give the folder that holds the images"):
        find_images(tmp_path / "nowhere")


def test_every_suffix_can_be_read(tmp_path: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        assert read_image(save_image(tmp_path / f"a{suffix}", random_pixels(SIZE_HW))).shape == (*SIZE_HW, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")

    assert read_error(tmp_path / "a.jpg") == f"{tmp_path / 'a.jpg'}: a pipe or a device, no file; give an image file"


def test_a_tiff_whose_tiles_are_wider_than_numbers_is_damaged(tmp_path: Path) -> None:
    path, size, tile_width = tmp_path / "a.tif", 16 * 16 * 3, 0xFFFFFFFF
    # Width, height, bits, compression, colours, samples, tile width and height, where the tile lies and its bytes.
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 2, 277: 3, 322: tile_width, 323: 16, 324: 8, 325: size}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + size)
    path.write_bytes(header + bytes(size) + struct.pack("<H", len(tags)) + entries + bytes(4))

    assert "damaged TIFF" in read_error(path)

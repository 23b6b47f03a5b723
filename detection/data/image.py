"""The one image loader of the project: whatever lies in the file, upright 8-bit RGB comes out.

Training, detection, audit and report read every picture through `read_image`, so a picture has the same pixels
everywhere. What is done to the odd ones:

* EXIF orientation is applied, so height and width are those that a viewer shows.
* Grey, palette, CMYK (Adobe's inverted JPEGs too) and YCbCr become RGB. Colour profiles are not applied.
* Transparent pixels are laid on white, as a viewer shows them; the colour hidden under them is not trusted.
* 16-bit pixels keep their high byte: 0..65535 -> 0..255, the same scale for every image, no stretching.
* Of an animation the first frame is taken.

A file cut short is an error. A JPEG damaged in its middle but with its end in place is not noticed: the format has
no checksum.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePath
from stat import S_ISDIR, S_ISREG
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError
from PIL.Image import Transpose
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from detection.errors import InputError

_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .bmp .gif .tif .tiff .webp .ppm .pgm .jp2"
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
PICTURE_SUFFIXES = IMAGE_SUFFIXES | {".heic", ".heif", ".avif", ".jxl"}
"""Also those of pictures that cannot be read: where all of a folder is asked for, they are faults, not passed over."""

MAX_PIXELS = 178_956_970  # 0.5 GB as RGB; from here on Pillow refuses too.
MAX_FILE_BYTES = 2**29  # Limit for a file that is read whole before it is decoded, from a zip or other storage.

# Only formats that decode in process: Pillow would hand an EPS file to Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
_ORIENTATION = ExifTags.Base.Orientation
_UPRIGHT = 1
_WHITE_IS_ZERO = 0
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_FIRST_QUARTER_TURN = 5  # From orientation 5 on, height and width change places.
# Pillow's format plugins answer damaged bytes with any of these.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error),
    *(ArithmeticError, AttributeError, AssertionError),
)

# What matters is an error here; warnings (half of MAX_PIXELS reached, odd EXIF block) would be noise at each image.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Of a PNG's colour profile or text, unpacked: Pillow's limit of 1 MB refuses pictures of layout programs. All together
# stay below its MAX_TEXT_MEMORY.
PngImagePlugin.MAX_TEXT_CHUNK = 16 * 2**20


class ImageHeader(NamedTuple):
    """What an image file says about itself before its pixels.

    Attributes:
        stored_size_hw: Height and width of the pixels as they are stored.
        orientation: EXIF orientation 1..8; 1 means stored upright.
    """

    stored_size_hw: tuple[int, int]
    orientation: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the upright image."""
        height, width = self.stored_size_hw
        return (width, height) if self.orientation >= _FIRST_QUARTER_TURN else (height, width)


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Reads an image as upright 8-bit RGB, whatever its format, depth and colour space.

    Args:
        path: The image file; any characters in its name.
        max_pixels: Larger images are refused before they are decoded.

    Returns:
        (H, W, 3) uint8 RGB, contiguous and writable; H and W as `read_image_header` tells them.

    Raises:
        InputError: If the file is missing, empty, no image, truncated, damaged or larger than ``max_pixels``.
    """
    with _opened(path, str(path), max_pixels) as image:
        return _upright_rgb(image, str(path))


def decode_image(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decodes the bytes of an image file, for example a member of a zip; as `read_image`.

    Args:
        content: The file's bytes.
        name: What messages call it.
        max_pixels: Larger images are refused before they are decoded.
    """
    with _opened(BytesIO(content), name, max_pixels) as image:
        return _upright_rgb(image, name)


def _upright_rgb(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    # Before loading: Pillow may add an EXIF block that follows the pixels, which the header reader cannot see.
    # Only TIFFs it turns itself.
    turn = None if isinstance(image, TiffImageFile) else _TURNS.get(_header(image).orientation)
    rgb = _to_rgb(image, name)
    upright = rgb if turn is None else rgb.transpose(turn)
    return np.asarray(upright).copy()  # Writable. np.array(upright) does the same eight times slower.


def read_image_header(path: Path, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Reads size and orientation without decoding the pixels; a truncated file passes.

    Args:
        path: The image file.
        max_pixels: Larger images are refused.

    Returns:
        The stored size and the EXIF orientation.

    Raises:
        InputError: If the file is missing, empty, no image or larger than ``max_pixels``.
    """
    with _opened(path, str(path), max_pixels) as image:
        return _header(image)


def find_images(folder: Path, *, recursive: bool = False, suffixes: Set[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Lists the image files of a folder by their suffix, sorted by path; hidden files and folders are passed over.

    Args:
        folder: Where to look.
        recursive: Whether to look into sub-folders too.
        suffixes: In lower case.

    Returns:
        The paths; empty if there are none.

    Raises:
        InputError: If ``folder`` is not a folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that holds the images")
    entries = folder.rglob("*") if recursive else folder.iterdir()
    images = (entry for entry in entries if entry.suffix.lower() in suffixes and not is_hidden(entry, folder))
    return sorted((image for image in images if image.is_file()), key=Path.as_posix)


def is_hidden(path: PurePath, folder: PurePath) -> bool:
    """Whether a file below a folder, or a folder on the way to it, has a name that starts with a dot."""
    return any(part.startswith(".") and part != ".." for part in path.relative_to(folder).parts)


@contextmanager
def _opened(source: Path | BytesIO, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """Opens an image at its header; what Pillow raises there or in the body becomes an InputError."""
    kind = "image"
    try:
        _refuse_pipes(source, name)
        with Image.open(source, formats=_FORMATS) as image:
            kind = image.format or kind
            if image.width * image.height > max_pixels:
                raise InputError(_too_large(name, f"{image.width}x{image.height} pixels", max_pixels))
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(name, str(error), MAX_PIXELS)) from error
    except UnidentifiedImageError as error:
        raise InputError(_not_an_image(source, name)) from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{name}: {error.strerror}; give a readable image file") from error
    except MemoryError as error:
        raise InputError(f"{name}: no memory to decode it; shrink the image or cut it into tiles") from error
    except _DAMAGE as error:
        fault = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise InputError(f"{name}: {fault} {kind} ({error}); copy or export the file again") from error


def check_file_size(name: str, size: int) -> None:
    """Refuses a file, before it is read as a whole, that is larger than any image.

    Raises:
        InputError: If it is.
    """
    if size > MAX_FILE_BYTES:
        raise InputError(f"{name}: {size} bytes, more than the limit of {MAX_FILE_BYTES}; shrink the image")


def _refuse_pipes(source: Path | BytesIO, name: str) -> None:
    """Reading one would wait for ever."""
    if isinstance(source, Path) and not (S_ISREG(mode := source.stat().st_mode) or S_ISDIR(mode)):
        raise InputError(f"{name}: a pipe or a device, no file; give an image file")


def _too_large(name: str, size: str, max_pixels: int) -> str:
    return f"{name}: {size}, more than the limit of {max_pixels} pixels; cut the image into tiles or shrink it"


def _not_an_image(source: Path | BytesIO, name: str) -> str:
    """Says what the file is instead, from its first bytes."""
    with source.open("rb") if isinstance(source, Path) else BytesIO(source.getvalue()) as file:
        start = file.read(16)
    if not start:
        return f"{name}: 0 bytes; copy or export the file again"
    known = ", ".join(sorted(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES))
    remedy = "export it as one of these or take the file away"
    return f"{name}: not an image: starts with {start!r}; expected one of {known}; {remedy}"


def _header(image: Image.Image) -> ImageHeader:
    """Stored size and orientation of an image that is opened but not loaded."""
    size_hw = (image.height, image.width)
    if isinstance(image, TiffImageFile):  # Its size may or may not be turned already, by the version of Pillow.
        tags: Mapping[int, Any] = image.tag_v2
        size_hw, orientation = (tags[IMAGELENGTH], tags[IMAGEWIDTH]), tags.get(_ORIENTATION)
    else:  # The base method: PNG's own would decode the pixels to look for a block behind them.
        try:
            orientation = Image.Image.getexif(image).get(_ORIENTATION)
        except _DAMAGE:  # of the block that says how the image is turned; its pixels are sound
            orientation = _UPRIGHT
    return ImageHeader(size_hw, orientation if orientation in _TURNS else _UPRIGHT)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Decodes the pixels to 8-bit RGB, not yet turned upright."""
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format != "TIFF"):
        high_byte = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
            high_byte = ~high_byte  # Pillow does so with 8 bits only
        return Image.fromarray(high_byte).convert("RGB")
    if image.mode in {"I", "F"}:
        raise InputError(f"{name}: 32-bit pixels, whose range is not known; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        on_white = Image.new("RGBA", image.size, "white")
        on_white.alpha_composite(image.convert("RGBA"))
        return on_white.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")

"""Images in storage other than this machine's folders: ``s3://``, ``gs://``, ``hdfs://``, whatever else fsspec knows.

pyarrow reads it (extra ``ray``), with the credentials that the environment holds.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detection.data.image import IMAGE_SUFFIXES, PICTURE_SUFFIXES, check_file_size, decode_image, is_hidden, read_image
from detection.errors import InputError
from detection.extras import needed

EXTRA = "ray"

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters or more: C:// is a drive


class RemoteFile(NamedTuple):
    """A file below a URI.

    Attributes:
        root: The URI of the folder; may hold options, such as ``?region=eu-west-1``.
        name: Path of the file below it.
    """

    root: str
    name: str


Location = Path | RemoteFile
"""Where an image lies."""


def is_uri(text: str) -> bool:
    """Whether a text names something in other storage, rather than a path."""
    return _URI.match(text) is not None


def list_uri(uri: str) -> list[tuple[str, RemoteFile]]:
    """The images of a folder in other storage, with its subfolders; hidden ones are passed over.

    Args:
        uri: Such as ``s3://bucket/photos``.

    Returns:
        Name below the folder and place of each image, sorted by name as the images of a local folder are.

    Raises:
        InputError: If the storage cannot be reached, or there is no image.
    """
    filesystem, base = _opened(uri)
    selector = needed("pyarrow.fs", EXTRA).FileSelector(base, recursive=True)
    try:
        paths = [PurePosixPath(info.path) for info in filesystem.get_file_info(selector) if info.is_file]
    except UnicodeDecodeError as error:
        raise InputError(f"{uri}: holds a name that is no UTF-8 ({error.object!r}); give a path instead") from error
    except OSError as error:
        raise InputError(f"{uri}: cannot be listed ({error}); check the address and the credentials") from error
    names = [
        name
        for name in (path.relative_to(base) for path in paths if not is_hidden(path, PurePosixPath(base)))
        if name.suffix.lower() in PICTURE_SUFFIXES
    ]
    if not names:
        raise InputError(f"{uri}: no images in this folder; known are {', '.join(sorted(IMAGE_SUFFIXES))}")
    return [(str(name), RemoteFile(uri, str(name))) for name in sorted(names)]


def read_location(location: Location) -> npt.NDArray[np.uint8]:
    """Reads an image wherever it lies; as ``read_image``.

    Raises:
        InputError: If it is missing, cannot be fetched or decoded.
    """
    if isinstance(location, Path):
        return read_image(location)
    filesystem, base = _opened(location.root)
    try:
        with filesystem.open_input_file(f"{base}/{location.name}") as file:
            check_file_size(location.name, file.size())
            content = file.read()
    except InputError:
        raise
    except Exception as error:  # each kind of storage has errors of its own
        raise InputError(f"{location.name}: cannot be fetched from {location.root} ({error})") from error
    return decode_image(content, location.name)


def make_remote_folder(uri: str) -> None:
    """Makes a folder in other storage, before hours of work that are to be copied there.

    Raises:
        InputError: If the storage is unknown, or the folder cannot be made.
    """
    filesystem, base = _opened(uri)
    try:
        filesystem.create_dir(base, recursive=True)
    except Exception as error:  # each kind of storage has errors of its own
        raise InputError(f"{uri}: cannot be written ({error}); check the address and the credentials") from error


def copy_out(folder: Path, uri: str) -> None:
    """Copies all files of a folder into other storage.

    Args:
        folder: Of this machine.
        uri: A folder there, from ``make_remote_folder``; files of the same names are replaced.

    Raises:
        InputError: If it cannot be written; the folder here keeps everything.
    """
    filesystem, base = _opened(uri)
    fs = needed("pyarrow.fs", EXTRA)
    try:
        fs.copy_files(
            str(folder.resolve()), base, source_filesystem=fs.LocalFileSystem(), destination_filesystem=filesystem
        )
    except OSError as error:
        raise InputError(
            f"{uri}: cannot be written ({error}); {folder} has the results, the same command with --resume tries again"
        ) from error


@lru_cache(maxsize=8)
def _opened(uri: str) -> tuple[Any, str]:
    """The file system of a URI and the path within it."""
    fs = needed("pyarrow.fs", EXTRA)
    try:
        filesystem, base = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError):  # not one of pyarrow's own
        filesystem, base = _opened_by_fsspec(uri)
    return filesystem, base.rstrip("/")


def _opened_by_fsspec(uri: str) -> tuple[Any, str]:
    fs = needed("pyarrow.fs", EXTRA)
    try:
        inner, base = needed("fsspec.core", EXTRA).url_to_fs(uri)
    except (ImportError, ValueError, OSError) as error:
        raise InputError(f"{uri}: this storage cannot be opened ({error})") from error
    return fs.PyFileSystem(fs.FSSpecHandler(inner)), base

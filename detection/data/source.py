"""What a user may name as a source of images."""

from __future__ import annotations

from pathlib import Path

from detection.data.image import IMAGE_SUFFIXES, find_images
from detection.errors import InputError


def list_source(source: Path) -> list[tuple[str, Path]]:
    """The images of a source as (name relative to it, path), sorted by path; a folder with its subfolders.

    Raises:
        InputError: If there is no such file or folder, or the folder has no images.
    """
    if source.is_file():
        return [(source.name, source)]
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder; give an image or a folder of images")
    found = [(path.relative_to(source).as_posix(), path) for path in find_images(source, recursive=True)]
    if not found:
        raise InputError(f"{source}: no images in this folder; known are {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found

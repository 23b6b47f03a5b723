"""What a user may name as a source of images: a file, a folder, a pattern, a list of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from detection.data.image import IMAGE_SUFFIXES, PICTURE_SUFFIXES, find_images, is_hidden
from detection.data.raw import absolute_path
from detection.errors import InputError

LIST_SUFFIX = ".txt"

_WILDCARDS = frozenset("*?[")
_ANY_FOLDERS = "**"


def list_source(source: Path) -> list[tuple[str, Path]]:
    """The images of a source.

    Args:
        source: An image; a folder, which is taken with its subfolders; a ``.txt`` file with the path of an image a
            line, relative to the folder of the list; or a pattern such as ``photos/**/*.jpg``, where ``**`` stands
            for any folders. A pattern that is the name of something is that thing.

    Returns:
        Name and path of each image, each once: of a list in its order, else sorted by path. The name is relative to
        the folder, that of the list, or the part of the pattern before its first wildcard; paths of a list that lead
        elsewhere are their own names. A path that a list has in several spellings counts as the first; links are not
        followed. Whether the files of a list are there is found out when they are read.

    Raises:
        InputError: If there is no such file or folder, or no image in it, or ``**`` is only part of a folder's name.
    """
    if source.is_dir():
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        found = _relative_to(source, find_images(source, recursive=True, suffixes=PICTURE_SUFFIXES))
        return _not_empty(found, f"{source}: no images in this folder; known are {known}")
    if source.is_file():
        return _read_list(source) if source.suffix.lower() == LIST_SUFFIX else [(source.name, source)]
    if _WILDCARDS & set(str(source)):
        return _not_empty(_expand(source), f"{source}: no image fits this pattern; ** stands for any folders")
    raise InputError(f"{source}: no such file or folder; give an image, a folder, a pattern or a list of images")


def searched_folder(source: Path) -> Path | None:
    """The folder of which a source takes all subfolders too; None where it takes none."""
    if source.is_dir():
        return source
    parts = source.parts
    if source.is_file() or _ANY_FOLDERS not in parts:
        return None
    return Path(*parts[: _first_wildcard(source)])


def _first_wildcard(pattern: Path) -> int:
    """The place of the first part with a wildcard."""
    return next(index for index, part in enumerate(pattern.parts) if _WILDCARDS & set(part))


def _not_empty(images: list[tuple[str, Path]], fault: str) -> list[tuple[str, Path]]:
    if not images:
        raise InputError(fault)
    return images


def _relative_to(folder: Path, paths: Iterable[Path]) -> list[tuple[str, Path]]:
    return [(path.relative_to(folder).as_posix(), path) for path in paths]


def _expand(pattern: Path) -> list[tuple[str, Path]]:
    """The image files that fit a pattern; hidden ones and those in hidden folders are passed over, as in folders."""
    mixed = next((part for part in pattern.parts if _ANY_FOLDERS in part and part != _ANY_FOLDERS), None)
    if mixed is not None:  # Some versions of Python refuse it, others take it for *.
        whole = pattern.as_posix().replace(mixed, f"{_ANY_FOLDERS}/{mixed.replace(_ANY_FOLDERS, '*')}")
        raise InputError(f"{pattern}: ** stands for any folders, alone between slashes; write {whole}")
    first = _first_wildcard(pattern)
    folder = Path(*pattern.parts[:first])
    fitting = folder.glob("/".join(pattern.parts[first:])) if folder.is_dir() else iter(())
    images = (path for path in fitting if path.suffix.lower() in PICTURE_SUFFIXES and not is_hidden(path, folder))
    return _relative_to(folder, sorted({path for path in images if path.is_file()}, key=Path.as_posix))


def _read_list(path: Path) -> list[tuple[str, Path]]:
    """The images that a text file names; file names that are not UTF-8 survive."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    if "\0" in text:
        raise InputError(f"{path}: is no text; a list of images has one path a line")
    images: dict[Path, tuple[str, Path]] = {}
    for name in (Path(line.strip()) for line in text.splitlines() if line.strip()):
        image = path.parent / name
        images.setdefault(absolute_path(image), (name.as_posix(), image))
    return _not_empty(list(images.values()), f"{path}: names no image; write one path a line")

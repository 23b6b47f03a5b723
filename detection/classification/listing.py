"""Which images a classification data set has, and of which class: a zip or a folder, found out by looking.

Layouts: ``train/CLASS/.../*.jpg`` and ``val/CLASS/.../*.jpg``; Tiny ImageNet's own, whose ``val/val_annotations.txt``
names the class of each file; and class folders alone. Without a validation part every tenth image of each class is held
out as one. One folder around all of it is passed through.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from detection.data.image import IMAGE_SUFFIXES, check_file_size
from detection.errors import InputError

Part = Literal["train", "val"]

HELD_OUT = 10
"""Without a validation part one image in this many of each class is held out."""

_ANNOTATIONS = "val/val_annotations.txt"
_EXPECTED = "expected class folders with images, or train/ and val/ with class folders in them"


class Archive(Protocol):
    """Files by their path inside a folder or a zip, with forward slashes."""

    def names(self) -> list[str]:
        """All files, sorted; hidden ones are passed over."""

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            InputError: If it cannot be read.
        """

    def stamp(self, name: str) -> tuple[int, int]:
        """Two numbers that change when the file does."""


@dataclass(frozen=True)
class FolderArchive:
    """The files below a folder."""

    root: Path

    def names(self) -> list[str]:
        """All files, sorted; hidden ones are passed over."""
        files = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts))

    def read(self, name: str) -> bytes:
        """The bytes of a file; one that is larger than any image is refused unread."""
        try:
            check_file_size(name, (self.root / name).stat().st_size)
            return (self.root / name).read_bytes()
        except OSError as error:
            raise InputError(f"{name}: {error.strerror}; give a readable image file") from error

    def stamp(self, name: str) -> tuple[int, int]:
        """Size and time of the last change."""
        stat = (self.root / name).stat()
        return stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True)
class ZipArchive:
    """The files of a zip, read in place: nothing is unpacked to disk."""

    file: zipfile.ZipFile

    def names(self) -> list[str]:
        """All files, sorted; hidden ones and the resource forks of a Mac are passed over."""
        names = (name for name in self.file.namelist() if not name.endswith("/"))
        return sorted(n for n in names if not any(part.startswith((".", "__MACOSX")) for part in n.split("/")))

    def read(self, name: str) -> bytes:
        """The bytes of a file; one that claims to be larger than any image is refused before it is unpacked."""
        check_file_size(name, self.file.getinfo(name).file_size)
        try:
            return self.file.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, lzma.LZMAError, OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{name}: cannot be unpacked ({error}); make the zip anew") from error

    def stamp(self, name: str) -> tuple[int, int]:
        """Size and checksum."""
        info = self.file.getinfo(name)
        return info.file_size, info.CRC


@contextmanager
def open_archive(data: Path) -> Iterator[Archive]:
    """Opens a folder or a zip.

    Raises:
        InputError: If it is neither.
    """
    if data.is_dir():
        yield FolderArchive(data)
        return
    try:
        file = zipfile.ZipFile(data)
    except FileNotFoundError as error:
        raise InputError(f"{data}: no such file or folder; {_EXPECTED}, or a zip of them") from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{data}: neither a folder nor a readable zip ({error}); {_EXPECTED}") from error
    with file:
        yield ZipArchive(file)


@dataclass(frozen=True)
class Listing:
    """The images of one part.

    Attributes:
        names: N files of the archive.
        labels: N labels.
        class_names: C names of folders, sorted; the labels count them.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]


def list_part(archive: Archive, part: Part) -> Listing:
    """Finds the images of a part and their classes.

    Raises:
        InputError: If there are no class folders, fewer than two classes, or a validation image of unknown class.
    """
    names = archive.names()
    root = _common_folder(names)
    inside = {name.removeprefix(root): name for name in names}
    images = [name for name in inside if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    has_parts = any(name.startswith("train/") for name in images)
    learnt = _by_class(
        [name for name in images if name.startswith("train/")] if has_parts else images, depth=1 if has_parts else 0
    )
    if len(learnt) < 2:
        found = f"the class {next(iter(learnt))}" if learnt else "no class"
        raise InputError(f"found {found} with images; {_EXPECTED}")
    class_names = tuple(sorted(learnt))
    held = _validation_part(archive, inside, images) if has_parts else {}
    if not held:
        held = {name: files[::HELD_OUT] for name, files in learnt.items() if len(files) > 1}
        learnt = {name: sorted(set(files) - set(held.get(name, ()))) for name, files in learnt.items()}
    return _to_listing(learnt if part == "train" else held, class_names, inside)


def _validation_part(archive: Archive, inside: Mapping[str, str], images: Sequence[str]) -> dict[str, list[str]]:
    """The validation part that the data set has itself; empty if it has none."""
    if _ANNOTATIONS in inside:
        listed = _annotated(archive.read(inside[_ANNOTATIONS]).decode("utf-8", "replace"), set(images))
        if listed:  # else the images have been moved into class folders, and the list was left where it was
            return listed
    own = [name for name in images if name.startswith("val/")]
    held = _by_class(own, depth=1)
    if own and not held:
        raise InputError(
            f"{own[0]}: val/ holds images and no class folders; put each into the folder of its class, or take val/ "
            f"away and every {HELD_OUT}th training image is held out"
        )
    return held


def _common_folder(names: Sequence[str]) -> str:
    """The folders around everything, with a slash at the end; empty if there are none or the parts lie there."""
    root = ""
    while True:
        tops = {name.removeprefix(root).partition("/")[0] for name in names}
        if len(tops) != 1 or tops == {"train"} or f"{root}{next(iter(tops))}" in names:
            return root
        root += f"{tops.pop()}/"


def _by_class(images: Sequence[str], *, depth: int) -> dict[str, list[str]]:
    """Class -> its images; the class is the folder at ``depth``."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in images:
        folders = name.split("/")[:-1]
        if len(folders) > depth:
            found[folders[depth]].append(name)
    return found


def _annotated(text: str, images: set[str]) -> dict[str, list[str]]:
    """Tiny ImageNet's validation part: lines of file name, tab, class; files that are not there are passed over."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        file_name, tab, rest = line.partition("\t")
        if tab and (name := f"val/images/{file_name}") in images:
            found[rest.partition("\t")[0].strip()].append(name)
    return found


def _to_listing(chosen: Mapping[str, Sequence[str]], classes: tuple[str, ...], inside: Mapping[str, str]) -> Listing:
    if unknown := sorted(chosen.keys() - set(classes)):
        raise InputError(
            f"{len(unknown)} classes of the validation part are not in the training part: {', '.join(unknown[:5])}"
        )
    pairs = [(inside[name], label) for label, c in enumerate(classes) for name in chosen.get(c, ())]
    return Listing(tuple(name for name, _ in pairs), tuple(label for _, label in pairs), classes)

"""Which images a classification data set has, and of which class: a zip or a folder, found out by looking.

Layouts: ``train/CLASS/.../*.jpg`` and ``val/CLASS/.../*.jpg``; Tiny ImageNet's own, whose ``val/val_annotations.txt``
names the class of each file; and class folders alone, of which every tenth image is the validation part. One folder
around all of it is passed through.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from detection.data.image import IMAGE_SUFFIXES
from detection.errors import InputError

Part = Literal["train", "val"]

HELD_OUT = 10
"""Without a validation part every so many-th image of a class is held out."""

MAX_FILE_BYTES = 2**29
"""Limit of one file in a zip."""

_ANNOTATIONS = "val/val_annotations.txt"
_EXPECTED = "expected class folders with images, or train/ and val/ with class folders in them"


class Archive(Protocol):
    """Files by their path inside a folder or a zip, with forward slashes."""

    def names(self) -> list[str]:
        """All files, sorted; hidden ones are passed over."""

    def read(self, name: str) -> bytes:
        """The bytes of a file."""


@dataclass(frozen=True)
class FolderArchive:
    """The files below a folder."""

    root: Path

    def names(self) -> list[str]:
        """All files, sorted; hidden ones are passed over."""
        files = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts))

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return (self.root / name).read_bytes()


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
        if (size := self.file.getinfo(name).file_size) > MAX_FILE_BYTES:
            raise InputError(f"{name}: {size} bytes, more than the limit of {MAX_FILE_BYTES}; shrink the image")
        return self.file.read(name)


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
    except (zipfile.BadZipFile, OSError) as error:
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
    learnt = _by_class([name for name in images if name.startswith("train/")], depth=1)
    own_parts = bool(learnt)
    learnt = learnt or _by_class(images, depth=0)
    if len(learnt) < 2:
        found = f"the class {next(iter(learnt))}" if learnt else "no class"
        raise InputError(f"found {found} with images; {_EXPECTED}")
    if part == "train" and own_parts:
        chosen: Mapping[str, Sequence[str]] = learnt
    elif _ANNOTATIONS in inside:
        chosen = _annotated(archive.read(inside[_ANNOTATIONS]).decode("utf-8", "replace"), set(images))
    elif own_parts and (held := _by_class([name for name in images if name.startswith("val/")], depth=1)):
        chosen = held
    elif part == "val":
        chosen = {name: files[::HELD_OUT] for name, files in learnt.items()}
    else:
        chosen = {name: [f for i, f in enumerate(files) if i % HELD_OUT] for name, files in learnt.items()}
    return _to_listing(chosen, tuple(sorted(learnt)), inside)


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

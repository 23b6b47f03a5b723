"""The yaml of a YOLO data set: class names, and where the images of each split lie."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any

import yaml

from detection.data.classes import check_class_table
from detection.data.image import find_images
from detection.data.raw import absolute_path, choose_split, exists, first_repeats, relative_name
from detection.data.records import Finding
from detection.errors import InputError

_USUAL_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_SUFFIXES = (".yaml", ".yml")
_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_PREFIX = "data/"  # CVAT and Datumaro put it before the names in their lists.
_NAMES_KEY = re.compile(rb"^names\s*:", re.MULTILINE)
_CLIMBS = re.compile(r"^(?:\.\./)+(?=.)")
_BRIEF = Repr()
_BRIEF.maxlevel = 2  # Aliases can blow a few lines up to gigabytes.


@dataclass(frozen=True)
class YoloYaml:
    """A checked yaml.

    Attributes:
        path: Where it lies.
        base: The folder that its sources are relative to.
        name_of_id: Class number -> name, in the order of the yaml.
        sources: Split -> its folders and list files, as written.
        keypoint_numbers: How many numbers follow a box, where objects have keypoints (``kpt_shape``); else 0.
        findings: What is wrong with it.
    """

    path: Path
    base: Path
    name_of_id: Mapping[int, str]
    sources: Mapping[str, tuple[str, ...]]
    keypoint_numbers: int
    findings: tuple[Finding, ...]

    @property
    def root(self) -> Path:
        """The folder of the data set: that of the yaml, or ``base`` where that lies elsewhere."""
        folder = self.path.parent
        return folder if absolute_path(self.base).is_relative_to(absolute_path(folder)) else self.base

    def find_split_images(self, split: str) -> tuple[list[Path], list[Finding]]:
        """Lists the images of a split.

        Args:
            split: One of ``sources``.

        Returns:
            The paths: of a folder all images below it, sorted; of a list file its entries in their order, each once.
            And what is wrong with the list files.

        Raises:
            InputError: If the yaml does not have the split, or a source does not exist.
        """
        if split not in self.sources:
            raise InputError(f"{self.path}: no split '{split}'; {choose_split(tuple(self.sources))}")
        images: list[Path] = []
        findings = list(self.findings)
        for source in self.sources[split]:
            place = self._locate(source, split)
            if place.is_dir():
                images += find_images(place, recursive=True)
            else:
                images += self._read_list(place, findings)
        return list(dict.fromkeys(images)), findings

    def _locate(self, source: str, split: str) -> Path:
        """Finds a folder or list file; Roboflow writes ``../train/images`` for what lies in ``train/images``."""
        places = dict.fromkeys((self.base / _CLIMBS.sub("", source), self.base / source))
        for place in places:
            if exists(place):
                return place
        looked = " or ".join(f"'{place}'" for place in places)
        raise InputError(f"{self.path}: {split}: no such folder or list file {looked}; correct the path")

    def _read_list(self, path: Path, findings: list[Finding]) -> list[Path]:
        """Reads a list file and adds one finding an entry that leads out of the data folder and one for repeats."""
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        names = [line.strip().replace("\\", "/").removeprefix("./") for line in lines if line.strip()]
        file = relative_name(path, self.base)
        repeats = first_repeats(names)
        if repeats:
            message = f"lists {repeats} more than once"
            findings.append(Finding("duplicate-image", file, message, "delete the repeats; each is used once"))
        images, base = [], absolute_path(self.base)
        for name in names:
            if name.startswith(_PREFIX) and not exists(self.base / name):
                name = name.removeprefix(_PREFIX)
            image = absolute_path(self.base / name)
            if ".." in Path(name).parts or not image.is_relative_to(base):
                message = f"'{name}' leads out of the data folder"
                findings.append(Finding("unsafe-name", file, message, "write a name inside it; left out"))
            else:
                images.append(self.base / image.relative_to(base))
        return images


def find_yaml(root: Path) -> Path | None:
    """Finds the yaml of a data set: the file itself, one of the usual names, or the only one with class names."""
    if root.is_file():
        return root if root.suffix in _SUFFIXES else None
    usual = next((root / name for name in _USUAL_NAMES if (root / name).is_file()), None)
    if usual is not None:
        return usual
    files = (path for suffix in _SUFFIXES for path in root.glob(f"*{suffix}") if path.is_file())
    others = [path for path in files if _NAMES_KEY.search(path.read_bytes())]
    return others[0] if len(others) == 1 else None


def load_yolo_yaml(path: Path) -> YoloYaml:
    """Reads and checks the yaml of a data set.

    Args:
        path: The yaml.

    Returns:
        The checked yaml. ``path`` in it, if it exists, is what sources are relative to, else its own folder.

    Raises:
        InputError: If it is no yaml, has no class names or ambiguous ones, or names no split.
    """
    content = _read(path)
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(class_id, int) for class_id in names):
        raise InputError(f"{path}: 'names' is {_BRIEF.repr(names)}; list the class names, or map class numbers to them")
    texts = dict(zip(names, _names_as_written(path, names), strict=True))
    name_of_id = {class_id: _text(texts[class_id], path, "names") for class_id in sorted(names)}
    check_class_table(str(path), list(name_of_id), list(name_of_id.values()))
    keys = {str(key).casefold(): key for key, source in content.items() if source}
    named = {split: next((keys[name] for name in names if name in keys), None) for split, names in _SPLITS.items()}
    sources = {split: _as_sources(content[key], path, split) for split, key in named.items() if key is not None}
    if not sources:
        raise InputError(f"{path}: names no split; add 'train: images/train'")
    base, path_findings = _find_base(content, path)
    findings = (*path_findings, *_count_finding(content, path))
    return YoloYaml(path, base, name_of_id, sources, _keypoint_numbers(content, path), findings)


def _names_as_written(path: Path, names: Mapping[int, Any]) -> list[Any]:
    """The class names in the order of the yaml as they stand there: for yaml ``yes`` is true, and ``010`` is 8."""
    written = _read(path, yaml.BaseLoader).get("names")
    texts = list(written.values()) if isinstance(written, dict) else written
    return texts if isinstance(texts, list) and len(texts) == len(names) else list(names.values())


def _read(path: Path, loader: type[yaml.BaseLoader | yaml.SafeLoader] = yaml.SafeLoader) -> Mapping[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=loader)
    # ValueError: no UTF-8, or no such date; LookupError, AttributeError: `!!bool maybe`, `!!timestamp x`.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not valid yaml ({error}); correct it") from error
    return content if isinstance(content, dict) else {}


def _find_base(content: Mapping[str, Any], path: Path) -> tuple[Path, tuple[Finding, ...]]:
    """The folder that sources are relative to, and a finding if it is not the one that ``path`` names."""
    written = _text(content.get("path") or ".", path, "path")
    base = path.parent / written
    if base.is_dir():
        return base, ()
    message = f"path is '{written}', but there is no such folder"
    remedy = "correct or delete it; the yaml's folder is used"
    return path.parent, (Finding("path-missing", path.name, message, remedy),)


def _as_sources(entry: Any, path: Path, split: str) -> tuple[str, ...]:
    entries: Sequence[Any] = entry if isinstance(entry, list) else [entry]
    return tuple(_text(source, path, split).replace("\\", "/") for source in entries)


def _text(value: Any, path: Path, key: str) -> str:
    """A name as it is written, also one that looks like a number; nothing nested, which aliases could blow up."""
    if isinstance(value, list | dict | set):
        raise InputError(f"{path}: '{key}' has {_BRIEF.repr(value)}, expected a name; correct it")
    return str(value)


def _keypoint_numbers(content: Mapping[str, Any], path: Path) -> int:
    """Points times numbers of a point, of pose data; 0 where the yaml tells of no keypoints."""
    match content.get("kpt_shape"):
        case None:
            return 0
        case [int(points), (2 | 3) as numbers] if points > 0:
            return points * int(numbers)
        case other:
            raise InputError(f"{path}: kpt_shape is {_BRIEF.repr(other)}; write [points, 2] or [points, 3]")


def _count_finding(content: Mapping[str, Any], path: Path) -> tuple[Finding, ...]:
    count, names = content.get("nc"), content["names"]
    if count is None or count == len(names):
        return ()
    message = f"nc is {_BRIEF.repr(count)}, but there are {len(names)} names"
    return (Finding("class-count", path.name, message, "correct one of them; the names count"),)

"""Where a COCO data set keeps the json and the images of a split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from detection.data.raw import choose_split, is_file
from detection.errors import InputError

LAYOUT = (
    "annotations/instances_<split>.json, annotations/<split>.json, <split>.json or <split>/_annotations.coco.json, "
    "with the images in <split>/, images/<split>/ or images/"
)

_INSTANCES = re.compile(r"instances_(.+)")
_YEAR = re.compile(r"\d{4}$")
_ROBOFLOW = "_annotations.coco.json"
_HEAD_BYTES = 1 << 16
_WORDS = re.compile(rb'"(?:images|annotations|categories|info)"')
_KEYS = re.compile(_WORDS.pattern + rb"\s*:")
_IMAGES = re.compile(rb'"images"\s*:')
_PROBED_IMAGES = 50


def find_split_files(root: Path) -> dict[str, Path]:
    """Finds the json of each split of a data set.

    Args:
        root: The data folder, or one json file, which then is the only split, named by its stem.

    Returns:
        Full split name (``train2017``) -> json file, sorted by name; empty if there is none. Where there are
        ``instances_*.json``, COCO's other files (captions, keypoints) are passed over.
    """
    if root.is_file():
        return {_split_name(root): root} if root.suffix.lower() == ".json" else {}
    candidates = [*root.glob("annotations/instances_*.json")] or [*root.glob("annotations/*.json")]
    candidates = candidates or [*root.glob(f"*/{_ROBOFLOW}")] or [*root.glob("*.json")]
    return {_split_name(path): path for path in sorted(candidates) if _looks_like_coco(path)}


def list_splits(root: Path) -> tuple[str, ...]:
    """Names the splits, without COCO's year where that is clear (``train`` for ``train2017``)."""
    names = tuple(find_split_files(root))
    short = [_YEAR.sub("", name) or name for name in names]
    return tuple(brief if short.count(brief) == 1 else name for name, brief in zip(names, short, strict=True))


def find_split_file(root: Path, split: str) -> tuple[str, Path]:
    """Finds the json of one split.

    Args:
        root: The data folder, or the json file itself, for which any split name will do.
        split: Its name, with or without the year.

    Returns:
        The full name of the split and the json.

    Raises:
        InputError: If no json or more than one fits.
    """
    files = find_split_files(root)
    if root.is_file() and files:
        return next(iter(files.items()))
    fitting = [split] if split in files else [name for name in files if _YEAR.sub("", name) == split]
    if len(fitting) != 1:
        choice = choose_split(fitting or tuple(files))
        fault = "more than one json" if fitting else "no json"
        raise InputError(f"{root}: {fault} for split '{split}'; expected {LAYOUT}; {choice}")
    return fitting[0], files[fitting[0]]


def find_image_folder(root: Path, split: str, json_file: Path, file_names: Sequence[str]) -> Path:
    """Finds the folder that the file names of a json are relative to.

    Args:
        root: The data folder, or the json file.
        split: Full name of the split.
        json_file: The json of the split.
        file_names: The names that it lists.

    Returns:
        Of the usual places the one that holds most of the first names, or of all where none holds these; the first of
        equals.

    Raises:
        InputError: If none holds any of them.
    """
    base = root if root.is_dir() else json_file.parent
    bases = (base, base.parent) if base.name == "annotations" else (base,)
    names = dict.fromkeys((split, _YEAR.sub("", split) or split))
    places = [base / place for base in bases for name in names for place in (name, f"images/{name}")]
    places += [base / place for base in bases for place in ("images", "JPEGImages", ".")]
    places.append(json_file.parent)
    hits: list[int] = []
    for probed in (file_names[:_PROBED_IMAGES], file_names):  # some may have been taken away
        hits = [sum(is_file(place / name) for name in probed) for place in places]
        if any(hits) or not file_names:
            return places[hits.index(max(hits))]
    looked = ", ".join(dict.fromkeys(str(place) for place in places))
    raise InputError(f"{json_file}: none of its images ('{file_names[0]}', ...) lies in {looked}; put them there")


def _split_name(path: Path) -> str:
    if path.name == _ROBOFLOW:
        return path.parent.name
    instances = _INSTANCES.fullmatch(path.stem)
    return instances[1] if instances else path.stem


def _looks_like_coco(path: Path) -> bool:
    """Whether a json has a key of the format in its head, or as a whole its images; result lists and others do not.

    Of one that is called as COCO or Roboflow call theirs, any word of the format will do: its faults are told.
    """
    if not is_file(path):  # a folder, a link to nothing, a pipe
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if path.name == _ROBOFLOW or _INSTANCES.fullmatch(path.stem):
        return _WORDS.search(head) is not None
    return (_IMAGES if len(head) < _HEAD_BYTES else _KEYS).search(head) is not None

"""Reading a data set for a command, with a line that says what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from configs.pretraining import PretrainConfig
from configs.schema import Config
from configs.unused import unused_values
from detection.classification.listing import Part
from detection.classification.packed import PackedImages, pack_part, unreadable_lines
from detection.data.classes import UnknownClasses
from detection.data.discover import load_dataset
from detection.data.findings import summarize_findings
from detection.data.records import DetectionData
from detection.errors import InputError
from tools.progress import tracking


def tell_unused(console: Console, config: Config | PretrainConfig, origins: Mapping[str, str]) -> None:
    """Says which values of the user's have no effect beside the others.

    Args:
        console: Where to tell.
        config: The resolved configuration.
        origins: Where each value comes from; see ``config_origins``.
    """
    given = [name for name, origin in origins.items() if origin != "default"]
    for line in unused_values(config, given):
        console.print(f"note: {line}")


def read_data(
    console: Console,
    root: Path,
    split: str,
    *,
    class_names: Sequence[str] | None = None,
    unknown_classes: UnknownClasses = "error",
) -> DetectionData:
    """Reads a part and tells what it holds.

    Args:
        console: Where to tell.
        root: Folder of the data set.
        split: The part.
        class_names: Fixes the class list; None takes the part's own.
        unknown_classes: Whether an object of another class is an error or left out.

    Raises:
        InputError: If the part cannot be read or has no images.
    """
    data = load_dataset(root, split, class_names=class_names, unknown_classes=unknown_classes)
    objects = sum(len(record.boxes) for record in data.images)
    empty = sum(not len(record.boxes) for record in data.images)
    console.print(
        f"{root} {split}: {data.reason}; {len(data.images)} images, {empty} of them empty, "
        f"{objects} objects, {len(data.class_names)} classes"
    )
    if data.findings:
        console.print(summarize_findings(data.findings))
    if not data.images:
        raise InputError(f"{root}: split {split!r} has no readable images; `multibox check {root}` lists why")
    return data


def pack_images(console: Console, data: Path, part: Part, folder: Path, *, shorter_side: int) -> PackedImages:
    """Decodes the images of a classification data set, or takes them from ``folder``; tells what was left out.

    Raises:
        InputError: If the data cannot be read.
    """
    with tracking(console, f"decoding {part}") as progress:
        packed = pack_part(data, part, folder, shorter_side=shorter_side, progress=progress)
    for line in unreadable_lines([packed]):
        console.print(line)
    return packed

"""Reading a data set for a command, with a line that says what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from configs.load import DEFAULT, flatten_config
from configs.pretraining import PretrainConfig
from configs.schema import Config
from configs.unused import unused_values
from detection.checkpoint import ModelHeader
from detection.classification.listing import Part
from detection.classification.packed import PackedImages, pack_part, unreadable_lines
from detection.data.classes import UnknownClasses
from detection.data.discover import list_splits, load_dataset
from detection.data.findings import summarize_findings
from detection.data.records import DetectionData
from detection.data.shares import parse_share
from detection.errors import InputError
from detection.learnt_images import count_known
from tools.progress import tracking

PARTS_OF = {"trainval": ("train", "val")}
"""Parts that the usual names say are contained in others."""


def tell_unused(console: Console, config: Config | PretrainConfig, origins: Mapping[str, str]) -> None:
    """Says which values of the user's have no effect beside the others.

    Args:
        console: Where to tell.
        config: The resolved configuration.
        origins: Where each value comes from; see ``config_origins``.
    """
    given = [name for name, origin in origins.items() if origin != DEFAULT]
    for line in unused_values(config, given):
        console.print(f"note: {line}")


def tell_settings(console: Console, config: Config | PretrainConfig, origins: Mapping[str, str]) -> None:
    """Says which values are not the schema's defaults, and where each comes from.

    Args:
        console: Where to tell.
        config: The resolved configuration.
        origins: See ``config_origins``.
    """
    values = flatten_config(config)
    for origin in dict.fromkeys(origins.values()):
        if origin != DEFAULT:
            chosen = ", ".join(f"{name} {values[name]}" for name, source in origins.items() if source == origin)
            console.print(f"settings of {origin}: {chosen}")


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
        split: The part, or a share of it: ``80%``.
        class_names: Fixes the class list; None takes the part's own.
        unknown_classes: Whether an object of another class is an error or left out.

    Raises:
        InputError: If the part cannot be read or has no images.
    """
    data = load_dataset(root, split, class_names=class_names, unknown_classes=unknown_classes)
    objects = sum(len(record.boxes) for record in data.images)
    empty = sum(not len(record.boxes) for record in data.images)
    console.print(
        f"{root} {data.split}: {data.reason}; {len(data.images)} images, {empty} of them empty, "
        f"{objects} objects, {len(data.class_names)} classes"
    )
    if data.findings:
        console.print(summarize_findings(data.findings))
    if not data.images:
        raise InputError(f"{root}: split {data.split!r} has no readable images; `multibox check {root}` lists why")
    return data


def training_split(data: Path, val: str | None) -> str:
    """The part to learn from when none is named: ``trainval``, else ``train...``, else the only one.

    With a validation part ``train`` comes first, since ``trainval`` usually contains it.

    Raises:
        InputError: If no part is called so.
    """
    splits = list_splits(data)
    named = sorted(name for name in splits if name.startswith("train"))
    if len(splits) == 1:
        return splits[0]
    if not named:
        raise InputError(f"{data}: has the parts {', '.join(splits)}, none called train; name one with --split")
    return "trainval" if "trainval" in splits and val is None else named[0]


def evaluation_split(data: Path) -> str:
    """The part to evaluate on when none is named: ``test``, else ``val...``, else the only one.

    Raises:
        InputError: If no part is called so.
    """
    splits = list_splits(data)
    named = [name for prefix in ("test", "val") for name in sorted(splits) if name.startswith(prefix)]
    if named or len(splits) == 1:
        return [*named, *splits][0]
    raise InputError(f"{data}: has the parts {', '.join(splits)}, none called test or val; name one with --split")


def learnt_images(header: ModelHeader, data: DetectionData) -> str | None:
    """Evidence that a model learnt from images of a part; None if there is none.

    Names and sizes of the files count; for models that record none, the name of the part.
    """
    training = header.training
    if isinstance(sketch := training.get("image_digests"), str) and sketch:
        known = count_known(sketch, (record.path for record in data.images))
        if not known.learnt:
            return None
        share = f"{known.learnt} of {known.sample} images looked up"
        return f"{share} are, by name and size, among those the model learnt from"
    learnt = training.get("split")
    if learnt == data.split or data.split in PARTS_OF.get(str(learnt), ()):
        return f"the model was trained on a part called {learnt!r}"
    return None


def flattering(header: ModelHeader, data: DetectionData) -> tuple[str, ...]:
    """What a reader of a model's numbers on a part must know: that it learnt from its images, or was chosen by them."""
    found = []
    if reason := learnt_images(header, data):
        found.append(f"{reason}; on learnt images the numbers flatter")
    chosen_on = header.training.get("validation_split")
    if _may_share(chosen_on, data.split):
        found.append(f"the model's weights were chosen on a part called {chosen_on!r}; its numbers flatter a little")
    fitted_on = None if header.calibration is None else header.calibration["fitted_on"].get("split")
    if _may_share(fitted_on, data.split):
        found.append(f"scores and thresholds were fitted on a part called {fitted_on!r}; their error and F1 flatter")
    return tuple(found)


def _may_share(used: object, split: str) -> bool:
    """Whether a part that was used shares images with another, by its name: is, holds, lies in or overlaps it."""
    if not isinstance(used, str):
        return False
    try:
        one, other = parse_share(used), parse_share(split)
    except InputError:  # no share that a command of ours would have written down
        return False
    names = [name if share is None else share.part for name, share in ((used, one), (split, other))]
    if names[0] != names[1]:
        return any(inner in PARTS_OF.get(str(outer), ()) for inner, outer in (names, names[::-1]))
    return one is None or other is None or one.overlaps(other)


def split_models(paths: Sequence[Path], usage: str) -> tuple[list[Path], Path]:
    """Models, and behind them what they are to look at.

    Raises:
        InputError: If there is no model, or a model stands last; says ``usage``.
    """
    *models, last = paths
    if not models or last.suffix == ".safetensors":
        raise InputError(usage)
    return models, last


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

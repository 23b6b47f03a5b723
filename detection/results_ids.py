"""What the ids in a results file stand for: those of a split, or names in the ``images.json`` beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detection.data.records import DetectionData
from detection.errors import InputError
from detection.predictions import IMAGES_FILE


@dataclass(frozen=True)
class ResultIds:
    """What the ids in a results file stand for.

    Attributes:
        images: Image id -> image id of the split, None if the split does not have the image.
        labels: Category id -> label of the split, None if the split does not have the class.
        unknown_classes: Names of those classes.
        unreadable: Image ids of the split whose files are missing or broken; None stands for them above.
        warnings: As in ``ReadDetections`` of ``detection.results_file``.
    """

    images: Mapping[int, int | None]
    labels: Mapping[int, int | None]
    unknown_classes: tuple[str, ...] = ()
    unreadable: frozenset[int] = frozenset()
    warnings: tuple[str, ...] = ()


def results_ids(path: Path, data: DetectionData) -> ResultIds:
    """Finds out what the ids in a results file stand for.

    Args:
        path: The results; whether ``images.json`` lies beside them decides.
        data: The split.

    Raises:
        InputError: If ``images.json`` is damaged, or shares no image or no class with the split.
    """
    listing = path.with_name(IMAGES_FILE)
    if listing.is_file():
        return _listed_ids(listing, data)
    images: dict[int, int | None] = {record.image_id: record.image_id for record in data.images}
    images |= {one: other for one, other in data.other_ids.items() if other in images}
    unreadable = data.unreadable | {one for one, other in data.other_ids.items() if other in data.unreadable}
    images |= dict.fromkeys(unreadable)
    labels: dict[int, int | None] = dict.fromkeys(data.groups)
    labels |= {category_id: label for label, category_id in enumerate(data.category_ids)}
    told: tuple[str, ...] = ()
    if data.format == "voc":
        table = ", ".join(f"{number} {name}" for number, name in zip(data.category_ids, data.class_names, strict=True))
        told = (f"VOC data numbers no classes; those of {path.name} were taken for {table}, sorted by name",)
    return ResultIds(images, labels, tuple(data.groups.values()), unreadable, told)


def _listed_ids(listing: Path, data: DetectionData) -> ResultIds:
    """The ids of ``images.json``, translated by name."""
    content = _load_json(listing)
    classes = dict(_pairs(listing, content, "categories", "name"))
    labels = {name: label for label, name in enumerate(data.class_names)}
    unknown = tuple(name for name in classes.values() if name not in labels)
    if labels and classes and len(unknown) == len(classes):
        raise InputError(
            f"{listing}: none of the detector's classes {brief(list(unknown))} is among those of the data set "
            f"{brief(list(labels))}; evaluate on the data set it was trained for, or rename the classes there"
        )
    images = _match_images(dict(_pairs(listing, content, "images", "file_name")), data)
    matched = set(images.values()) - {None}
    if images and not matched:
        some_name = data.images[0].file_name if data.images else None
        raise InputError(
            f"{listing}: none of its {len(images)} images is in split '{data.split}', whose file names are like "
            f"{brief(some_name)}; give the data set that these detections belong to"
        )
    warnings = []
    if missing := len(data.images) - len(matched):
        listed = f"{missing} of {len(data.images)} images of '{data.split}' are not in {listing}"
        warnings.append(f"{listed}; they count as images without detections")
    if absent := [name for name in labels if name not in classes.values()]:
        warnings.append(f"the detector does not know {brief(absent)} of '{data.split}'; such objects count as missed")
    by_id = {number: labels.get(name) for number, name in classes.items()}
    return ResultIds(images, by_id, unknown, warnings=tuple(warnings))


def _match_images(listed: Mapping[int, str], data: DetectionData) -> dict[int, int | None]:
    """Image id in the results -> image id of the split, None for an image that the split does not have.

    Where no name is the same, the ends of names count that occur once on each side, from the base name on: names of a
    YOLO split start at its yaml, those of a run at the folder it was given.
    """
    split = {record.image_id: record.file_name for record in data.images}
    if set(listed.values()) & set(split.values()):
        image_ids = {name: image_id for image_id, name in split.items()}
        return {number: image_ids.get(name) for number, name in listed.items()}
    matched: dict[int, int] = {}
    for parts in range(1, 1 + max((name.count("/") + 1 for name in listed.values()), default=0)):
        ours, theirs = _by_unique_end(split, parts), _by_unique_end(listed, parts)
        taken = set(matched.values())
        for end in ours.keys() & theirs.keys():
            if ours[end] not in taken:
                matched.setdefault(theirs[end], ours[end])
    return {number: matched.get(number) for number in listed}


def _by_unique_end(names: Mapping[int, str], parts: int) -> dict[str, int]:
    """The last parts of a name, where no other one ends so -> its id."""
    ends = {number: "/".join(name.split("/")[-parts:]) for number, name in names.items()}
    uses = Counter(ends.values())
    return {end: number for number, end in ends.items() if uses[end] == 1}


def _pairs(listing: Path, content: object, table: str, key: str) -> list[tuple[int, str]]:
    """(id, text) of each entry of one table of ``images.json``."""
    entries = content.get(table) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InputError(f"{listing}: expected a list under '{table}'; write it again or remove the file")
    pairs = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int) or not isinstance(entry.get(key), str):
            raise InputError(
                f"{listing}: entry {number} of '{table}' is {brief(entry)}, expected an integer id and a text {key}; "
                "write it again or remove the file"
            )
        pairs.append((entry["id"], entry[key]))
    return pairs


def _load_json(path: Path) -> object:
    """Parses a json file of the user."""
    try:
        content: object = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
    return content


def unreadable(path: Path, error: OSError | ValueError | RecursionError, where: str = "") -> InputError:
    """The error for a file that cannot be read or holds no JSON; ``where`` says where in it the fault was met."""
    if isinstance(error, OSError):
        return InputError(f"{path}: cannot be read ({error.strerror}); give a COCO results file")
    return InputError(f"{path}: not valid JSON ({where}{error}); give a COCO results file")


def brief(value: object) -> str:
    """A value for a message, cut where it grows long."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."

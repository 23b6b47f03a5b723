"""A data set as it is written: COCO json, VOC or YOLO, the labels of images that lie in the folder already.

    coco   OUT/images/NAME          OUT/annotations/instances_SPLIT.json
    voc    OUT/JPEGImages/NAME      OUT/Annotations/NAME.xml     OUT/ImageSets/Main/SPLIT.txt
    yolo   OUT/images/NAME          OUT/labels/NAME.txt          OUT/SPLIT.txt and OUT/data.yaml

COCO's json holds all that is known of boxes. VOC's files hold neither ids nor areas other than the boxes', and a class
without objects is in none of them. YOLO's, besides, cannot say that an object is to be ignored, and number the classes
from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import yaml

from detection.atomic import write_json
from detection.data.duplicates import is_union
from detection.data.label_files import NamedBox, write_voc_xml, yolo_line

WrittenFormat = Literal["coco", "voc", "yolo"]

YOLO_SPLITS = ("train", "val", "test")
"""Parts that a data.yaml can name."""


class WrittenObject(NamedTuple):
    """An object: class, xyxy box in pixels, area, whether it is difficult or a crowd."""

    name: str
    box: tuple[float, float, float, float]
    area: float
    ignore: bool


class WrittenImage(NamedTuple):
    """An image: id, name below the folder of images (no two alike, suffix aside), height and width, objects."""

    image_id: int
    file_name: str
    size_hw: tuple[int, int]
    objects: tuple[WrittenObject, ...]


Parts = Mapping[str, Sequence[WrittenImage]]
"""Split -> its images; a split's name is that of a file."""


def image_folder(form: WrittenFormat) -> str:
    """Where images belong, relative to the data set."""
    return "JPEGImages" if form == "voc" else "images"


def write_dataset(out: Path, form: WrittenFormat, parts: Parts, id_of: Mapping[str, int]) -> None:
    """Writes the labels of a data set.

    Args:
        out: Its folder.
        form: The format.
        parts: The splits.
        id_of: Class name -> category id, in the order of the classes. YOLO numbers them anew.
    """
    if form == "voc":
        _write_voc(out, parts)
    elif form == "yolo":
        _write_yolo(out, parts, list(id_of))
    else:
        _write_coco(out, parts, id_of)


def _write_coco(out: Path, parts: Parts, id_of: Mapping[str, int]) -> None:
    for split, images in parts.items():
        entries: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image in images:
            height, width = image.size_hw
            entries.append({"id": image.image_id, "file_name": image.file_name, "width": width, "height": height})
            for name, (x1, y1, x2, y2), area, ignore in image.objects:
                entry = {"id": len(annotations) + 1, "image_id": image.image_id, "category_id": id_of[name]}
                annotations.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": int(ignore)})
        categories = [{"id": category_id, "name": name} for name, category_id in id_of.items()]
        document = {"images": entries, "annotations": annotations, "categories": categories}
        write_json(out / "annotations" / f"instances_{split}.json", document)


def _write_voc(out: Path, parts: Parts) -> None:
    for image in _distinct(parts):
        path = _label_path(out / "Annotations", image, ".xml")
        objects = (NamedBox(each.name, each.box, each.ignore) for each in image.objects)
        write_voc_xml(path, PurePosixPath(image.file_name).name, image.size_hw, objects)
    for split, images in parts.items():
        _write_list(out / "ImageSets" / "Main" / f"{split}.txt", (stem_of(image.file_name) for image in images))


def _write_yolo(out: Path, parts: Parts, class_names: Sequence[str]) -> None:
    label_of = {name: label for label, name in enumerate(class_names)}
    for image in _distinct(parts):
        lines = [yolo_line(label_of[each.name], each.box, image.size_hw) for each in image.objects]
        _write_list(_label_path(out / "labels", image, ".txt"), lines)
    for split, images in parts.items():
        _write_list(out / f"{split}.txt", (f"./images/{image.file_name}" for image in images))
    names = yolo_splits(list(parts))
    document = {**{name: f"{split}.txt" for name, split in names.items()}, "names": dict(enumerate(class_names))}
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    (out / "data.yaml").write_text(text, encoding="utf-8")


def yolo_splits(splits: Sequence[str]) -> dict[str, str]:
    """Which splits a data.yaml names, and as what: ``train``, ``val`` and ``test``, or else what begins like it.

    Args:
        splits: At least one. Where none is for training, the first that is left over becomes ``train``.

    Returns:
        Name in the yaml -> split. A split may be left over, as val is beside trainval where there is no train.
    """
    chosen: dict[str, str] = {}
    for name in YOLO_SPLITS:
        alike = [name, *(split for split in splits if split.lower().startswith(name))]
        found = next((split for split in alike if split in splits), None)
        if found is not None:
            chosen[name] = found
    if "val" in chosen and is_union(chosen.get("train", ""), chosen["val"]):
        del chosen["val"]  # its images are learnt from already
    rest = [split for split in splits if split not in chosen.values()]
    return chosen if "train" in chosen or not rest else {"train": rest[0], **chosen}


def _distinct(parts: Parts) -> Iterable[WrittenImage]:
    """Every image once: splits may share images."""
    return {image.file_name: image for images in parts.values() for image in images}.values()


def stem_of(file_name: str) -> str:
    """What the label file of an image is named after: its name with folders, without suffix."""
    return str(PurePosixPath(file_name).with_suffix(""))


def _label_path(folder: Path, image: WrittenImage, suffix: str) -> Path:
    """Where the label file of an image belongs; makes the folder."""
    path = folder / f"{stem_of(image.file_name)}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_list(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

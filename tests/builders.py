"""Tiny valid data sets on disk, the same content in every format; tests break them on purpose afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import yaml
from PIL import Image

CLASS_NAMES = ("bird", "cat", "dog")


class ToyObject(NamedTuple):
    """An object: class name, half-open xyxy box in pixels, and whether it is crowd or difficult."""

    name: str
    box: tuple[float, float, float, float]
    ignore: bool = False


class ToyImage(NamedTuple):
    """An image to be written: name without suffix, height and width, objects."""

    name: str
    size_hw: tuple[int, int]
    objects: tuple[ToyObject, ...] = ()


def random_pixels(size_hw: tuple[int, int], seed: int = 0) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def random_patches(size_hw: tuple[int, int], seed: int = 0, side: int = 12) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 squares of random colours: unlike those of noise, their regions differ."""
    height, width = size_hw
    patches = random_pixels((-(-height // side), -(-width // side)), seed)
    return np.ascontiguousarray(patches.repeat(side, axis=0).repeat(side, axis=1)[:height, :width])


def save_image(path: Path, pixels: npt.NDArray[Any], **options: Any) -> Path:
    """Writes (H, W) or (H, W, 3 or 4) uint8 pixels in the format of the suffix, and makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def random_boxes(rng: np.random.Generator, num_boxes: int, size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(N, 4) valid xyxy boxes with integer corners inside the image; N distinct ones for small N."""
    height, width = size_hw
    left, top = rng.integers(0, width - 4, num_boxes), rng.integers(0, height - 4, num_boxes)
    right, bottom = rng.integers(left + 4, width + 1), rng.integers(top + 4, height + 1)
    return np.stack([left, top, right, bottom], axis=1).astype(np.float64)


def toy_images(
    num_images: int = 4, *, prefix: str = "image", class_names: Sequence[str] = CLASS_NAMES, seed: int = 0
) -> list[ToyImage]:
    """Images of different sizes; the second is empty, the first has an ignored object, each class occurs."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(num_images):
        size_hw = (40 + 4 * index, 64 - 4 * index)
        boxes = random_boxes(rng, 0 if index == 1 else len(class_names), size_hw).tolist()
        objects = tuple(
            ToyObject(name, (box[0], box[1], box[2], box[3]), ignore=index == 0 and name == class_names[0])
            for name, box in zip(class_names, boxes, strict=False)
        )
        images.append(ToyImage(f"{prefix}{index}", size_hw, objects))
    return images


def write_pixels(folder: Path, images: Sequence[ToyImage]) -> None:
    """Writes the pixels of toy images as JPEGs, no two alike."""
    for image in images:
        seed = sum(image.name.encode()) * 1000 + len(image.name)
        save_image(folder / f"{image.name}.jpg", random_pixels(image.size_hw, seed))


def voc_xml(image: ToyImage) -> str:
    """The annotation file of a toy image, with 1-based inclusive corners."""
    height, width = image.size_hw
    objects = "\n".join(
        f"  <object>\n    <name>{escape(item.name)}</name>\n    <difficult>{int(item.ignore)}</difficult>\n    <bndbox>"
        f"<xmin>{item.box[0] + 1:g}</xmin><ymin>{item.box[1] + 1:g}</ymin>"
        f"<xmax>{item.box[2]:g}</xmax><ymax>{item.box[3]:g}</ymax></bndbox>\n  </object>"
        for item in image.objects
    )
    return (
        f"<annotation>\n  <filename>{escape(image.name)}.jpg</filename>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n{objects}\n</annotation>\n"
    )


def write_voc(root: Path, splits: Mapping[str, Sequence[ToyImage]]) -> Path:
    """Writes a VOC data set and returns its folder."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, images in splits.items():
        write_pixels(root / "JPEGImages", images)
        for image in images:
            (root / f"Annotations/{image.name}.xml").write_text(voc_xml(image), encoding="utf-8")
        names = "".join(f"{image.name}\n" for image in images)
        (root / f"ImageSets/Main/{split}.txt").write_text(names, encoding="utf-8")
    return root


def coco_document(images: Sequence[ToyImage], category_ids: Mapping[str, int]) -> dict[str, Any]:
    """The json of toy images: image ids 10, 20, ..., annotation ids from 1, categories in the order of the mapping."""
    annotations: list[dict[str, Any]] = []
    for index, image in enumerate(images, start=1):
        for item in image.objects:
            left, top, right, bottom = item.box
            box = [left, top, right - left, bottom - top]
            entry = {"id": len(annotations) + 1, "image_id": 10 * index, "category_id": category_ids[item.name]}
            annotations.append({**entry, "bbox": box, "area": box[2] * box[3], "iscrowd": int(item.ignore)})
    entries = [
        {"id": 10 * index, "file_name": f"{image.name}.jpg", "height": image.size_hw[0], "width": image.size_hw[1]}
        for index, image in enumerate(images, start=1)
    ]
    categories = [{"id": category_id, "name": name} for name, category_id in category_ids.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}


def write_coco(
    root: Path, splits: Mapping[str, Sequence[ToyImage]], category_ids: Mapping[str, int] | None = None
) -> Path:
    """Writes a COCO data set (annotations/instances_SPLIT.json, SPLIT/) and returns its folder; ids from 1."""
    ids = category_ids or {name: label for label, name in enumerate(CLASS_NAMES, start=1)}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, images in splits.items():
        write_pixels(root / split, images)
        path = root / f"annotations/instances_{split}.json"
        path.write_text(json.dumps(coco_document(images, ids)), encoding="utf-8")
    return root


def yolo_lines(image: ToyImage, class_names: Sequence[str]) -> str:
    """The label file of a toy image: class, centre and size as shares of the image."""
    height, width = image.size_hw
    lines = []
    for item in image.objects:
        left, top, right, bottom = item.box
        centre = ((left + right) / 2 / width, (top + bottom) / 2 / height)
        numbers = (*centre, (right - left) / width, (bottom - top) / height)
        lines.append(f"{class_names.index(item.name)} " + " ".join(f"{number:.10f}" for number in numbers) + "\n")
    return "".join(lines)


def write_yolo(root: Path, splits: Mapping[str, Sequence[ToyImage]], class_names: Sequence[str] = CLASS_NAMES) -> Path:
    """Writes a YOLO data set (data.yaml, images/SPLIT/, labels/SPLIT/) and returns its folder; it knows no ignore."""
    for split, images in splits.items():
        write_pixels(root / "images" / split, images)
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        for image in images:
            path = root / f"labels/{split}/{image.name}.txt"
            path.write_text(yolo_lines(image, class_names), encoding="utf-8")
    content = {"names": list(class_names), **{split: f"images/{split}" for split in splits}}
    (root / "data.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return root


SYNSETS = {"n02672831": "accordion", "n02691156": "airplane", "n02219486": "ant", "n04557648": "water bottle"}


def ilsvrc_xml(image: ToyImage) -> str:
    """The annotation file of a toy image as ILSVRC writes it: bare file name, no difficult mark."""
    name = image.name.rpartition("/")[2]
    xml = voc_xml(image._replace(name=name)).replace(f"{name}.jpg<", f"{name}<")
    return xml.replace("    <difficult>0</difficult>\n", "")


def write_ilsvrc(
    root: Path, splits: Mapping[str, Sequence[ToyImage]], synsets: Mapping[str, str] | None = SYNSETS
) -> Path:
    """Writes an ILSVRC DET data set and returns its folder.

    Args:
        root: Where to.
        splits: Split -> images, named relative to the folder of the split, with synset ids as class names. Those
            without objects get no xml.
        synsets: Synset id -> readable name in the order of the numbers; None writes no map_det.txt.
    """
    (root / "ImageSets/DET").mkdir(parents=True, exist_ok=True)
    for split, images in splits.items():
        for folder in ("Annotations/DET", "Data/DET"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        for seed, image in enumerate(images):
            save_image(root / f"Data/DET/{split}/{image.name}.JPEG", random_pixels(image.size_hw, seed))
            if image.objects:
                path = root / f"Annotations/DET/{split}/{image.name}.xml"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(ilsvrc_xml(image), encoding="utf-8")
        lines = "".join(f"{image.name} {index}\n" for index, image in enumerate(images, start=1))
        (root / f"ImageSets/DET/{split}.txt").write_text(lines, encoding="utf-8")
    if synsets is not None:
        table = "".join(f"{synset} {number} {name}\n" for number, (synset, name) in enumerate(synsets.items(), start=1))
        (root / "devkit/data").mkdir(parents=True, exist_ok=True)
        (root / "devkit/data/map_det.txt").write_text(table, encoding="utf-8")
    return root

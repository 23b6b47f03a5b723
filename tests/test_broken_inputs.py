"""Forty kinds of broken input: each is answered with the file at fault and what to do about it.

A row breaks one thing of a small data set and names the command to run, the file that its message must name and a
piece of the remedy. Where the fault is one file of many, the command goes on with the others.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from configs.load import dump_config
from detection.checkpoint import ModelHeader, save_model
from tests.builders import CLASS_NAMES, random_pixels, save_image, toy_images, write_coco, write_voc, write_yolo
from tests.detection.tiny import tiny_config, tiny_network
from tests.tools.running import run_main

FOUND, REFUSED = 1, 2


class Case(NamedTuple):
    """What to run after the data were broken, and what the answer must say.

    Attributes:
        arguments: Of ``multibox``; OUT stands for a new folder.
        code: Its exit code.
        file: The file that is named.
        remedy: A piece of what the user is told to do.
    """

    arguments: list[object]
    code: int
    file: str
    remedy: str


Break = Callable[[Path], Case]
"""Makes a data set below a folder, breaks it, and says what must happen."""

CASES: dict[str, Break] = {}


def kind(function: Break) -> Break:
    """Adds a kind of broken input to the table."""
    CASES[function.__name__.replace("_", " ")] = function
    return function


def voc(root: Path) -> Path:
    return write_voc(root / "voc", {"train": toy_images(3), "test": toy_images(2, prefix="test", seed=1)})


def edit_xml(root: Path, pattern: str, replacement: str, name: str = "image2") -> Path:
    """Changes the first fit of a pattern in an annotation file."""
    data = voc(root)
    path = data / f"Annotations/{name}.xml"
    changed, fits = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1)
    assert fits
    path.write_text(changed, encoding="utf-8")
    return data


def coco(root: Path, change: Callable[[dict[str, Any]], None] = lambda document: None) -> Path:
    """A COCO data set with its json changed."""
    data = write_coco(root / "coco", {"train": toy_images(3)})
    path = data / "annotations/instances_train.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return data


def yolo(root: Path) -> Path:
    return write_yolo(root / "yolo", {"train": [i for i in toy_images(3) if not any(o.ignore for o in i.objects)]})


def model_file(path: Path) -> Path:
    header = ModelHeader(
        config=tiny_config().model_dump(mode="json"), class_names=CLASS_NAMES, category_ids=(1, 2, 3), training={}
    )
    save_model(path, tiny_network(num_classes=3).state_dict(), header)
    return path


def photos(root: Path) -> Path:
    for number in range(2):
        save_image(root / f"photos/good{number}.jpg", random_pixels((40, 50), seed=number))
    return root / "photos"


def detect_bad_photo(root: Path, name: str, content: bytes, remedy: str) -> Case:
    """A folder of which one file is broken: the others are done."""
    folder = photos(root)
    (folder / name).write_bytes(content)
    model = model_file(root / "model.safetensors")
    return Case(["detect", model, folder, "--out", "OUT"], FOUND, name, remedy)


def hollow_png(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds a hundred bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


# Annotations.


@kind
def box_of_no_width(root: Path) -> Case:
    data = edit_xml(root, r"<xmax>[\d.]+</xmax>", "<xmax>0</xmax>")
    return Case(["check", data], FOUND, "image2.xml", "left out")


@kind
def box_beyond_the_image(root: Path) -> Case:
    data = edit_xml(root, r"<xmax>[\d.]+</xmax>", "<xmax>500</xmax>")
    return Case(["check", data], FOUND, "image2.xml", "clipped")


@kind
def box_that_is_not_a_number(root: Path) -> Case:
    data = edit_xml(root, r"<xmin>[\d.]+</xmin>", "<xmin>nan</xmin>")
    return Case(["check", data], FOUND, "image2.xml", "left out")


@kind
def box_without_a_corner(root: Path) -> Case:
    data = edit_xml(root, r"<xmin>[\d.]+</xmin>", "")
    return Case(["check", data], FOUND, "image2.xml", "xmin")


@kind
def object_without_a_name(root: Path) -> Case:
    data = edit_xml(root, r"<name>\w+</name>", "<name></name>")
    return Case(["check", data], FOUND, "image2.xml", "name")


@kind
def the_same_box_twice(root: Path) -> Case:
    data = edit_xml(root, r"(?s)(<object>.*?</object>)", r"\1\1")
    return Case(["check", data], FOUND, "image2.xml", "delete one of them")


@kind
def class_name_with_a_slip(root: Path) -> Case:
    data = edit_xml(root, "<name>cat</name>", "<name>Cat</name>")
    return Case(["check", data], FOUND, "Cat", "give them one name")


@kind
def xml_cut_short(root: Path) -> Case:
    data = edit_xml(root, r"(?s)</annotation>", "")
    return Case(["check", data], FOUND, "image2.xml", "correct the file")


@kind
def xml_entity_bomb(root: Path) -> Case:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "ha">{entities}]><annotation>&l9;</annotation>'
    data = voc(root)
    (data / "Annotations/image2.xml").write_text(bomb, encoding="utf-8")
    return Case(["check", data], FOUND, "image2.xml", "entit")


@kind
def labelled_size_of_another_image(root: Path) -> Case:
    data = edit_xml(root, r"<width>\d+</width>", "<width>999</width>")
    return Case(["check", data], FOUND, "image2.xml", "size")


@kind
def label_without_an_image(root: Path) -> Case:
    data = voc(root)
    (data / "JPEGImages/image2.jpg").unlink()
    return Case(["check", data], FOUND, "image2", "add")


@kind
def image_without_a_label(root: Path) -> Case:
    data = voc(root)
    save_image(data / "JPEGImages/stray.jpg", random_pixels((40, 40), seed=9))
    return Case(["check", data], FOUND, "stray.jpg", "list")


@kind
def name_that_leads_out_of_the_data(root: Path) -> Case:
    data = voc(root)
    with (data / "ImageSets/Main/train.txt").open("a", encoding="utf-8") as file:
        file.write("../../secret\n")
    return Case(["check", data], FOUND, "../../secret", "inside")


@kind
def split_that_is_not_there(root: Path) -> Case:
    return Case(["train", voc(root), "--split", "tarin", "--out", "OUT"], REFUSED, "voc", "train")


@kind
def empty_split(root: Path) -> Case:
    data = voc(root)
    (data / "ImageSets/Main/train.txt").write_text("", encoding="utf-8")
    return Case(["train", data, "--split", "train", "--out", "OUT"], REFUSED, "voc", "name another split or fill it")


@kind
def no_data_set_at_all(root: Path) -> Case:
    return Case(["train", photos(root), "--out", "OUT"], REFUSED, "photos", "expected one of")


@kind
def json_cut_short(root: Path) -> Case:
    data = coco(root)
    path = data / "annotations/instances_train.json"
    path.write_text(path.read_text(encoding="utf-8")[:-200], encoding="utf-8")
    return Case(["train", data, "--out", "OUT"], REFUSED, "instances_train.json", "export it again")


@kind
def json_without_categories(root: Path) -> Case:
    data = coco(root, lambda document: document.pop("categories"))
    return Case(["train", data, "--out", "OUT"], REFUSED, "instances_train.json", "a COCO json has the lists")


@kind
def category_that_is_not_listed(root: Path) -> Case:
    data = coco(root, lambda document: document["annotations"][0].update(category_id=77))
    return Case(["check", data], FOUND, "instances_train.json", "77")


@kind
def annotation_of_no_image(root: Path) -> Case:
    data = coco(root, lambda document: document["annotations"][0].update(image_id=12345))
    return Case(["check", data], FOUND, "instances_train.json", "12345")


@kind
def corners_written_where_sizes_belong(root: Path) -> Case:
    def to_corners(document: dict[str, Any]) -> None:
        for entry in document["annotations"]:
            left, top, width, height = entry["bbox"]
            entry["bbox"] = [left, top, left + width, top + height]

    return Case(["check", coco(root, to_corners)], FOUND, "instances_train.json", "write boxes as")


@kind
def image_name_that_leads_out(root: Path) -> Case:
    data = coco(root, lambda document: document["images"][0].update(file_name="../../x.jpg"))
    return Case(["check", data], FOUND, "../../x.jpg", "correct or delete it")


@kind
def yolo_class_beyond_the_names(root: Path) -> Case:
    data = yolo(root)
    (data / "labels/train/image2.txt").write_text("9 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    return Case(["check", data], FOUND, "image2.txt", "9")


@kind
def yolo_pixels_where_shares_belong(root: Path) -> Case:
    data = yolo(root)
    (data / "labels/train/image2.txt").write_text("0 20 20 10 10\n", encoding="utf-8")
    return Case(["check", data], FOUND, "image2.txt", "left out")


@kind
def yaml_with_a_python_object(root: Path) -> Case:
    data = yolo(root)
    (data / "data.yaml").write_text("names: !!python/object/apply:os.system ['false']\n", encoding="utf-8")
    return Case(["train", data, "--out", "OUT"], REFUSED, "data.yaml", "correct it")


# Images.


@kind
def truncated_jpeg(root: Path) -> Case:
    data = voc(root)
    path = data / "JPEGImages/image2.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Case(["check", data], FOUND, "image2.jpg", "copy or export the file again")


@kind
def empty_file(root: Path) -> Case:
    return detect_bad_photo(root, "empty.jpg", b"", "empty")


@kind
def text_renamed_to_jpeg(root: Path) -> Case:
    return detect_bad_photo(root, "notes.jpg", b"just some notes", "take the file away")


@kind
def huge_image(root: Path) -> Case:
    return detect_bad_photo(root, "bomb.png", hollow_png(60_000, 60_000), "cut the image into tiles or shrink it")


@kind
def image_in_two_splits(root: Path) -> Case:
    data = voc(root)
    (data / "JPEGImages/test0.jpg").write_bytes((data / "JPEGImages/image0.jpg").read_bytes())
    return Case(["check", data], FOUND, "test0.jpg", "keep")


# Models, results and settings.


@kind
def pickle_renamed_as_a_model(root: Path) -> Case:
    path = root / "model.safetensors"
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    return Case(
        ["detect", path, photos(root), "--out", "OUT"], REFUSED, "model.safetensors", "give a model.safetensors"
    )


@kind
def header_with_wild_shapes(root: Path) -> Case:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}).encode()
    path = root / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    return Case(["info", path], REFUSED, "model.safetensors", "give a model.safetensors")


@kind
def weights_of_another_program(root: Path) -> Case:
    save_file({"x": torch.zeros(1)}, root / "model.safetensors")
    return Case(["info", root / "model.safetensors"], REFUSED, "model.safetensors", "give a model.safetensors")


@kind
def model_that_is_not_there(root: Path) -> Case:
    return Case(["detect", root / "best.pt", photos(root), "--out", "OUT"], REFUSED, "best.pt", "give a model")


@kind
def results_of_unknown_images(root: Path) -> Case:
    rows = [{"image_id": 4711, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    (root / "results.json").write_text(json.dumps(rows), encoding="utf-8")
    return Case(
        ["evaluate", root / "results.json", coco(root), "--out", "OUT"], REFUSED, "results.json", "remove the row"
    )


@kind
def results_with_percentages(root: Path) -> Case:
    rows = [{"image_id": 10, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 95}]
    (root / "results.json").write_text(json.dumps(rows), encoding="utf-8")
    return Case(
        ["evaluate", root / "results.json", coco(root), "--out", "OUT"], REFUSED, "results.json", "scale the scores"
    )


@kind
def results_that_are_no_list(root: Path) -> Case:
    (root / "results.json").write_text("{}", encoding="utf-8")
    return Case(["evaluate", root / "results.json", coco(root), "--out", "OUT"], REFUSED, "results.json", "write [{")


@kind
def setting_with_a_slip(root: Path) -> Case:
    return Case(["train", voc(root), "--out", "OUT", "--set", "train.sede=1"], REFUSED, "train.sede", "train.seed")


@kind
def setting_out_of_range(root: Path) -> Case:
    path = root / "mine.yaml"
    path.write_text("train:\n  learning_rate: -1\n", encoding="utf-8")
    return Case(["train", voc(root), "--out", "OUT", "--config", path], REFUSED, "mine.yaml", "greater than 0")


@kind
def settings_with_a_python_object(root: Path) -> Case:
    path = root / "mine.yaml"
    path.write_text("train: !!python/object/apply:os.system ['false']\n", encoding="utf-8")
    return Case(["train", voc(root), "--out", "OUT", "--config", path], REFUSED, "mine.yaml", "yaml")


@kind
def folder_of_another_run(root: Path) -> Case:
    (root / "run").mkdir()
    (root / "run/config.yaml").write_text(dump_config(tiny_config()), encoding="utf-8")
    return Case(
        ["train", voc(root), "--out", root / "run"], REFUSED, "run", "add --resume to go on, or give another --out"
    )


@kind
def a_file_where_the_folder_belongs(root: Path) -> Case:
    (root / "taken").write_text("mine", encoding="utf-8")
    return Case(["train", voc(root), "--out", root / "taken"], REFUSED, "taken", "give another path")


# Classification data.


@kind
def folder_without_class_folders(root: Path) -> Case:
    return Case(["pretrain", photos(root), "--out", "OUT"], REFUSED, "photos", "folder")


@kind
def zip_that_is_none(root: Path) -> Case:
    (root / "images.zip").write_bytes(b"PK no zip")
    return Case(["pretrain", root / "images.zip", "--out", "OUT"], REFUSED, "images.zip", "zip")


@kind
def zip_that_leads_out(root: Path) -> Case:
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        archive.writestr("../../train/cat/1.jpg", b"x")
    return Case(["pretrain", root / "images.zip", "--out", "OUT"], REFUSED, "images.zip", "folder")


@pytest.mark.parametrize("name", CASES)
def test_broken_input_is_answered_with_file_and_remedy(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name](tmp_path)
    before = {path for path in tmp_path.rglob("*")}
    out = tmp_path / "out"
    code = run_main(*(out if argument == "OUT" else argument for argument in case.arguments))
    told = "".join(capsys.readouterr())
    if (out / "errors.json").is_file():
        told += (out / "errors.json").read_text()
    assert code == case.code, told
    assert case.file in told
    assert case.remedy in told
    assert "Traceback" not in told
    assert {path for path in tmp_path.rglob("*") if out not in [path, *path.parents]} == before  # nothing else written


def test_there_are_forty_kinds() -> None:
    assert len(CASES) >= 40


def test_good_photos_are_done_beside_a_bad_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = text_renamed_to_jpeg(tmp_path)
    assert run_main(*(tmp_path / "out" if a == "OUT" else a for a in case.arguments)) == FOUND
    listed = json.loads((tmp_path / "out/images.json").read_text())
    assert len(listed["images"]) == 2
    assert np.isin(["good0.jpg", "good1.jpg"], [image["file_name"] for image in listed["images"]]).all()

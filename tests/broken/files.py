"""Faults of images, models, results, settings and folders."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from configs.load import dump_config
from tests.broken.case import (
    FOUND,
    REFUSED,
    Case,
    coco,
    detect_bad_photo,
    hollow_png,
    kind,
    photos,
    voc,
)
from tests.detection.tiny import tiny_config


@kind
def truncated_jpeg(root: Path) -> Case:
    data = voc(root)
    path = data / "JPEGImages/image2.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Case(["check", data], FOUND, "image2.jpg", "copy or export the file again")


@kind
def empty_file(root: Path) -> Case:
    return detect_bad_photo(root, "empty.jpg", b"", "copy or export the file again")


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


def evaluate_results(root: Path, content: object, remedy: str) -> Case:
    """Results of another tool, evaluated on a sound data set."""
    (root / "results.json").write_text(json.dumps(content), encoding="utf-8")
    return Case(["evaluate", root / "results.json", coco(root), "--out", "OUT"], REFUSED, "results.json", remedy)


@kind
def results_of_unknown_images(root: Path) -> Case:
    rows = [{"image_id": 4711, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    return evaluate_results(root, rows, "remove the row")


@kind
def results_with_percentages(root: Path) -> Case:
    rows = [{"image_id": 10, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 95}]
    return evaluate_results(root, rows, "scale the scores")


@kind
def results_that_are_no_list(root: Path) -> Case:
    return evaluate_results(root, {}, "write [{")


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
    return Case(
        ["train", voc(root), "--out", "OUT", "--config", path],
        REFUSED,
        "mine.yaml",
        "could not determine a constructor for the tag",
    )


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


@kind
def folder_without_class_folders(root: Path) -> Case:
    return Case(["pretrain", photos(root), "--out", "OUT"], REFUSED, "photos", "folder")


@kind
def zip_that_is_none(root: Path) -> Case:
    (root / "images.zip").write_bytes(b"PK no zip")
    return Case(
        ["pretrain", root / "images.zip", "--out", "OUT"],
        REFUSED,
        "images.zip",
        "or train/ and val/ with class folders in them",
    )


@kind
def zip_that_leads_out(root: Path) -> Case:
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for name in ("train/cat/1.jpg", "train/cat/2.jpg", "../../train/dog/1.jpg"):
            archive.writestr(name, b"x")
    return Case(["pretrain", root / "images.zip", "--out", "OUT"], REFUSED, "images.zip", "expected class folders")

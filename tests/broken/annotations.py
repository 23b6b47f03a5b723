"""Faults of labels, lists and class names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.broken.case import (
    FOUND,
    REFUSED,
    Case,
    coco,
    edit_xml,
    kind,
    photos,
    voc,
    yolo,
)
from tests.builders import random_pixels, save_image


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
    return Case(["check", data], FOUND, "image2.txt", "has class 9")


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

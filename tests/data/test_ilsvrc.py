"""What is special about ILSVRC's detection data: nested folders, negatives without xml, synset ids, its own lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detection.data.discover import find_format, load_dataset
from detection.data.ilsvrc import Synset, list_splits, read_ilsvrc, read_synsets, recognise
from detection.data.records import DetectionData
from detection.errors import InputError
from tests.builders import SYNSETS, ToyImage, ToyObject, toy_images, write_ilsvrc, write_voc
from tests.data.contracts import assert_valid_data, only_finding

ACCORDION, AIRPLANE, ANT, BOTTLE = SYNSETS
MAP = "devkit/data/map_det.txt"
TRAIN = (
    ToyImage("ILSVRC2013_train/n02672831/n02672831_1", (40, 60), (ToyObject(ACCORDION, (4, 4, 20, 20)),)),
    ToyImage("ILSVRC2013_train_extra0/ILSVRC2013_train_00000007", (44, 52)),
    ToyImage(
        "ILSVRC2014_train_0000/ILSVRC2014_train_00000005",
        (48, 32),
        (ToyObject(BOTTLE, (0, 0, 32, 48)), ToyObject(ANT, (1, 2, 30, 40))),
    ),
)
VAL = (
    ToyImage("ILSVRC2012_val_00000001", (40, 60), (ToyObject(BOTTLE, (5, 5, 30, 30)),)),
    ToyImage("ILSVRC2012_val_00000002", (44, 52)),
    ToyImage("ILSVRC2012_val_00000003", (40, 60), (ToyObject(ANT, (5, 5, 30, 30)),)),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set with the splits train and val; two folders deep, so that a name may lead out of it."""
    return write_ilsvrc(tmp_path / "inner/data", {"train": TRAIN, "val": VAL})


def read(root: Path, split: str) -> DetectionData:
    data = load_dataset(root, split)
    assert_valid_data(data)
    return data


def names(data: DetectionData) -> list[str]:
    return [image.file_name.removesuffix(".JPEG") for image in data.images]


def write_list(root: Path, split: str, text: str) -> None:
    (root / f"ImageSets/DET/{split}.txt").write_text(text, encoding="utf-8")


def rewrite_xml(root: Path, name: str, old: str, new: str) -> None:
    path = root / f"Annotations/DET/{name}.xml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_nested_folders_and_names_of_the_devkit(root: Path) -> None:
    data = read(root, "train")

    assert data.findings == ()
    assert names(data) == [f"train/{image.name}" for image in TRAIN]
    assert [image.size_hw for image in data.images] == [(40, 60), (44, 52), (48, 32)]
    assert [image.boxes.tolist() for image in data.images] == [[[4, 4, 20, 20]], [], [[0, 0, 32, 48], [1, 2, 30, 40]]]
    assert data.class_names == ("accordion", "airplane", "ant", "water bottle")
    assert data.category_ids == (1, 2, 3, 4)
    assert [image.labels.tolist() for image in data.images] == [[0], [], [3, 2]]
    assert not any(image.ignore.any() for image in data.images)


def test_negatives_have_no_xml_and_are_no_fault(root: Path) -> None:
    assert not (root / f"Annotations/DET/train/{TRAIN[1].name}.xml").exists()

    data = read(root, "train")

    assert len(data.images[1].boxes) == 0
    assert data.findings == ()


def test_classes_are_all_of_the_devkit_in_every_split(root: Path) -> None:
    data = read(root, "val")

    assert data.class_names == tuple(SYNSETS.values())
    assert [image.labels.tolist() for image in data.images] == [[3], [], [2]]


def test_numbers_of_the_devkit_are_kept_and_set_the_order(root: Path) -> None:
    table = f"\ufeff{BOTTLE} 196  water bottle \r\n\r\n{ANT}\t3\tant\r\n{ACCORDION} 1 accordion\r\n"
    (root / MAP).write_text(table, encoding="utf-8")

    data = read(root, "train")

    assert (data.class_names, data.category_ids) == (("accordion", "ant", "water bottle"), (1, 3, 196))
    assert [image.labels.tolist() for image in data.images] == [[0], [], [2, 1]]
    expected = (Synset(ACCORDION, 1, "accordion"), Synset(ANT, 3, "ant"), Synset(BOTTLE, 196, "water bottle"))
    assert read_synsets(root) == expected


def test_without_the_devkit_the_sorted_synsets_are_the_classes_and_it_is_said(root: Path) -> None:
    (root / MAP).unlink()

    data = read(root, "train")

    assert (data.class_names, data.category_ids) == ((ANT, ACCORDION, BOTTLE), (1, 2, 3))
    assert [image.labels.tolist() for image in data.images] == [[1], [], [2, 0]]
    assert data.reason == (
        "ILSVRC: has Annotations/DET/ and Data/DET/; no devkit/data/map_det.txt, so the classes are synset ids, sorted"
    )
    assert read_synsets(root) == ()


def test_synset_that_the_devkit_does_not_know_is_left_out_once_told(root: Path) -> None:
    (root / MAP).write_text(f"{BOTTLE} 1 water bottle\n", encoding="utf-8")
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    twice = f"<object><name>{ANT}</name>{box}</object>"
    rewrite_xml(root, f"val/{VAL[2].name}", "</annotation>", f"{twice}</annotation>")

    data = read(root, "val")

    assert [image.labels.tolist() for image in data.images] == [[0], [], []]
    assert str(only_finding(data.findings, "unknown-class")) == (
        f"Annotations/DET/val/{VAL[2].name}.xml: object 1 of val/{VAL[2].name}.JPEG has the class '{ANT}', "
        "as have 1 more objects, not in devkit/data/map_det.txt; correct the name or add it to the table; left out"
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "names no class"),
        ("n1 1 cat\nn2 2\n", "line 2 is 'n2 2', expected a synset id, a number and a name, as in 'n02672831 1 accord"),
        ("n1 first cat\n", "line 1 is 'n1 first cat', expected a synset id, a number"),
        (f"n1 {'9' * 5000} cat\n", f"line 1 is 'n1 {'9' * 57}', expected a synset id, a number"),
        ("n1 1 cat\nn2 1 dog\n", "class id 1 stands more than once"),
        ("n1 1 cat\nn2 2 cat\n", "class name cat stands more than once"),
        ("n1 1 cat\nn1 2 dog\n", "synset n1 stands more than once"),
    ],
)
def test_faulty_table_of_the_devkit(root: Path, table: str, message: str) -> None:
    (root / MAP).write_text(table, encoding="utf-8")

    with pytest.raises(InputError) as caught:
        load_dataset(root, "val")

    assert str(caught.value).startswith(f"{root / MAP}: ")
    assert message in str(caught.value)


def test_given_class_names_fix_the_labels(root: Path) -> None:
    data = load_dataset(root, "train", ("water bottle", "ant", "accordion"))

    assert [image.labels.tolist() for image in data.images] == [[2], [], [0, 1]]
    assert data.category_ids == (4, 3, 1)
    with pytest.raises(InputError, match=r"object 1 of train/.* has the class 'accordion'.*none of water bottle, ant"):
        load_dataset(root, "train", ("water bottle", "ant"))
    left = load_dataset(root, "train", ("water bottle", "ant"), unknown_classes="drop")
    assert [len(image.boxes) for image in left.images] == [0, 0, 2]


def test_boxes_enter_as_those_of_voc(tmp_path: Path) -> None:
    images = toy_images(6, class_names=tuple(SYNSETS), seed=3)
    voc = load_dataset(write_voc(tmp_path / "voc", {"train": images}), "train")

    data = read(write_ilsvrc(tmp_path / "ilsvrc", {"train": images}, None), "train")

    assert data.class_names == voc.class_names
    for record, expected in zip(data.images, voc.images, strict=True):
        for column in ("boxes", "labels", "ignore", "area"):
            np.testing.assert_array_equal(getattr(record, column), getattr(expected, column))


def test_box_of_the_whole_image_and_of_its_first_pixel(root: Path) -> None:
    """Both ends are counted, the first pixel is 1."""
    corners = "<xmin>6</xmin><ymin>6</ymin><xmax>30</xmax><ymax>30</ymax>"
    whole = "<xmin>1</xmin><ymin>1</ymin><xmax>60</xmax><ymax>40</ymax>"
    pixel = "<xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax>"
    rewrite_xml(root, f"val/{VAL[0].name}", corners, whole)
    rewrite_xml(root, f"val/{VAL[2].name}", corners, pixel)

    data = read(root, "val")

    assert [image.boxes.tolist() for image in data.images] == [[[0, 0, 60, 40]], [], [[0, 0, 1, 1]]]
    assert data.findings == ()


def test_missing_image_is_left_out(root: Path) -> None:
    for image in VAL[:2]:
        (root / f"Data/DET/val/{image.name}.JPEG").unlink()

    data = read(root, "val")

    assert [(image.image_id, image.labels.tolist()) for image in data.images] == [(3, [2])]
    assert [(finding.kind, finding.file) for finding in data.findings] == [
        ("missing-image", f"Data/DET/val/{image.name}.JPEG") for image in VAL[:2]
    ]


def test_broken_xml_leaves_its_image_out(root: Path) -> None:
    (root / f"Annotations/DET/train/{TRAIN[0].name}.xml").write_text("<annotation>\n<object>", encoding="utf-8")

    data = read(root, "train")

    assert names(data) == [f"train/{image.name}" for image in TRAIN[1:]]
    assert data.unreadable == {1}
    finding = only_finding(data.findings, "unreadable-label")
    assert finding.file == f"Annotations/DET/train/{TRAIN[0].name}.xml"
    assert finding.message.startswith("line 2: malformed xml (")


def test_faulty_objects_are_told_as_written(root: Path) -> None:
    rewrite_xml(root, f"val/{VAL[0].name}", "<xmax>30</xmax>", "<xmax>wide</xmax>")
    rewrite_xml(root, f"val/{VAL[2].name}", "<xmax>30</xmax>", "<xmax>3</xmax>")

    findings = read(root, "val").findings

    assert [str(finding) for finding in findings] == [
        f"Annotations/DET/val/{VAL[0].name}.xml: object 1 ('{BOTTLE}') has xmax 'wide', expected a number; "
        "correct or delete it; left out",
        f"Annotations/DET/val/{VAL[2].name}.xml: object 1 of val/{VAL[2].name}.JPEG has xmin 6, ymin 6, xmax 3, "
        "ymax 30, which has no width or height (width 60, height 40); correct or delete it; left out",
    ]


def test_lists_of_one_class_are_no_splits(root: Path) -> None:
    for split in ("train_1", "train_200", "train_pos_7", "train_neg_7", "train_part_7"):
        write_list(root, split, f"{TRAIN[0].name} -1\n")
    write_list(root, "train_small", f"{TRAIN[0].name} 1\n")

    assert list_splits(root) == ("train", "train_small", "val")


def test_official_splits_that_were_not_unpacked_are_none(tmp_path: Path) -> None:
    root = write_ilsvrc(tmp_path, {"train": TRAIN, "val": VAL, "test": [ToyImage("ILSVRC2012_test_1", (40, 60))]})
    (root / "Annotations/DET/test").rmdir()  # It was never published.
    (root / "Data/DET/train").rename(root / "Data/elsewhere")

    assert list_splits(root) == ("val",)


def test_split_without_any_label_file_can_be_read_and_it_is_said(tmp_path: Path) -> None:
    root = write_ilsvrc(tmp_path, {"val": VAL, "test": [ToyImage("ILSVRC2012_test_1", (40, 60))]})
    (root / "Annotations/DET/test").rmdir()

    data = read(root, "test")

    assert names(data) == ["test/ILSVRC2012_test_1"]
    message = only_finding(data.findings, "no-label-file").message
    assert message == "no image of split 'test' has a label file (Annotations/DET/test/ILSVRC2012_test_1.xml, ...)"


def test_ids_are_the_numbers_of_the_list(root: Path) -> None:
    assert [image.image_id for image in read(root, "val").images] == [1, 2, 3]


def test_trainval_must_be_asked_for(root: Path) -> None:
    data = read(root, "trainval")

    assert names(data) == [f"train/{image.name}" for image in TRAIN] + [f"val/{image.name}" for image in VAL]
    assert [image.image_id for image in data.images] == [1, 2, 3, 4, 5, 6]
    assert list_splits(root) == ("train", "val")
    with pytest.raises(InputError) as caught:
        load_dataset(root, "valid")
    assert str(caught.value) == (
        f"{root}: no split 'valid' in ImageSets/DET/ or Data/DET/; choose one of: train, val, trainval; "
        "name one with --split"
    )


def test_trainval_needs_both(tmp_path: Path) -> None:
    root = write_ilsvrc(tmp_path, {"val": VAL})

    with pytest.raises(InputError, match=r"no split 'trainval' in .*; choose one of: val; name one with --split"):
        load_dataset(root, "trainval")


def test_own_list_may_name_images_of_every_folder(root: Path) -> None:
    write_list(root, "val1", f"{VAL[2].name} 1\n{TRAIN[0].name}.JPEG\nval/{VAL[0].name} -1\n\nnowhere 4\n")

    data = read(root, "val1")

    assert names(data) == [f"val/{VAL[2].name}", f"train/{TRAIN[0].name}", f"val/{VAL[0].name}"]
    assert [image.labels.tolist() for image in data.images] == [[2], [0], [3]]
    assert only_finding(data.findings, "missing-image").file == "Data/DET/nowhere.JPEG"
    assert list_splits(root) == ("train", "val", "val1")


def test_folder_without_a_list_is_a_split_of_all_its_images(root: Path) -> None:
    (root / "ImageSets/DET/train.txt").unlink()
    (root / "Data/DET/train/overview.png").touch()

    data = read(root, "train")

    assert data.findings == ()
    assert names(data) == [f"train/{image.name}" for image in TRAIN]
    assert [image.labels.tolist() for image in data.images] == [[0], [], [3, 2]]
    assert list_splits(root) == ("train", "val")


@pytest.mark.parametrize("split", ["val", "my_list"])
@pytest.mark.parametrize("depth", ["../", "../../", "../../../", "../../../../"])
def test_listed_name_that_leads_out_of_the_folder_is_left_out(root: Path, split: str, depth: str) -> None:
    image = (root / f"Data/DET/val/{VAL[0].name}.JPEG").read_bytes()
    for folder in (root / "Data/DET", root / "Data", root, root.parent):
        (folder / "secret.JPEG").write_bytes(image)
    write_list(root, split, f"{depth}secret 1\n{root.parent}/secret 2\n{VAL[0].name} 3\n")

    data = read(root, split)

    assert names(data) == [f"val/{VAL[0].name}"]
    assert [str(finding) for finding in data.findings] == [
        f"ImageSets/DET/{split}.txt: '{name}' leads out of the data folder; write a name inside it; left out"
        for name in (f"{depth}secret", f"{root.parent}/secret")
    ]


@pytest.mark.parametrize("split", ["../DET/val", "/etc/passwd", "", ".", "train/ILSVRC2013_train"])
def test_split_that_is_none(root: Path, split: str) -> None:
    with pytest.raises(InputError, match=r"no split '.*' in ImageSets/DET/ or Data/DET/; choose one of: train, val"):
        load_dataset(root, split)


def test_name_listed_twice_is_used_once(root: Path) -> None:
    write_list(root, "val", f"{VAL[0].name} 1\n{VAL[1].name} 2\n{VAL[0].name} 3\n")

    data = read(root, "val")

    assert names(data) == [f"val/{image.name}" for image in VAL[:2]]
    finding = only_finding(data.findings, "duplicate-image")
    assert (finding.file, finding.message) == ("ImageSets/DET/val.txt", f"lists {VAL[0].name} more than once")


def test_empty_list_is_an_error(root: Path) -> None:
    write_list(root, "val", "\n")

    with pytest.raises(InputError, match="split 'val' lists no image"):
        load_dataset(root, "val")


def test_recognition_opens_no_file_and_walks_no_tree(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are 450,000 of them."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise AssertionError(f"touched {path}")

    for method in ("open", "rglob", "read_bytes", "read_text"):
        monkeypatch.setattr(Path, method, refuse)

    assert find_format(root).name == "ILSVRC"
    assert list_splits(root) == ("train", "val")


@pytest.mark.parametrize("folder", ["Annotations/DET", "Data/DET"])
def test_half_of_the_layout_is_not_recognised(root: Path, folder: str) -> None:
    (root / folder).rename(root / "elsewhere")

    assert recognise(root) is None
    with pytest.raises(InputError, match="not an ILSVRC data set; expected Annotations/DET/<split>/"):
        read_ilsvrc(root, "val")


def test_video_data_of_the_same_year_is_another_matter(root: Path) -> None:
    for folder in ("Annotations", "Data", "ImageSets"):
        (root / folder / "DET").rename(root / folder / "VID")

    with pytest.raises(InputError, match="no known data set; found Annotations/, Data/, ImageSets/, devkit/"):
        load_dataset(root, "val")

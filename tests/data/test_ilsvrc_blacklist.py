"""The blacklist of ILSVRC's devkit: which images of which classes it names, and for which parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.data.discover import load_dataset
from tests.builders import SYNSETS, ToyImage, ToyObject, write_ilsvrc

ACCORDION, AIRPLANE, ANT, BOTTLE = SYNSETS
LONG = "9" * 5000
VAL = tuple(
    ToyImage(f"ILSVRC2012_val_0000000{number}", (40, 60), (ToyObject(synset, (5, 5, 30, 30)),))
    for number, synset in ((1, BOTTLE), (2, ANT), (3, ANT))
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    train = ToyImage("a/a_1", (40, 60), (ToyObject(ANT, (4, 4, 20, 20)),))
    return write_ilsvrc(tmp_path, {"train": [train], "val": VAL})


def write_list(root: Path, split: str, text: str) -> None:
    (root / f"ImageSets/DET/{split}.txt").write_text(text, encoding="utf-8")


def write_blacklist(root: Path, text: str, year: int = 2014) -> None:
    (root / f"devkit/data/ILSVRC{year}_det_validation_blacklist.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("split", ["val", "trainval", "val2"])
def test_the_blacklist_knows_images_by_their_number_in_the_list_of_val(root: Path, split: str) -> None:
    write_list(root, "val", "".join(f"{image.name} {7 + 2 * row}\n" for row, image in enumerate(VAL)))
    write_list(root, "val2", f"{VAL[2].name} 11\n{VAL[0].name}.JPEG 7\n")
    write_blacklist(root, f"7 {ANT}\n11 {BOTTLE}\n\n11 {ANT}\n")
    write_blacklist(root, f"9 {ANT}\n", year=2013)  # an earlier one

    data = load_dataset(root, split)

    name_of = {record.image_id: record.file_name for record in data.images}
    assert {(name_of[image_id], data.class_names[label]) for image_id, label in data.unjudged} == {
        (f"val/{VAL[0].name}.JPEG", "ant"),
        (f"val/{VAL[2].name}.JPEG", "water bottle"),
        (f"val/{VAL[2].name}.JPEG", "ant"),
    }
    assert data.findings == ()


def test_a_blacklist_follows_the_labels_of_a_model_and_concerns_val_alone(root: Path) -> None:
    write_blacklist(root, f"3 {BOTTLE}\n1 {ACCORDION}\nnonsense\n")

    assert load_dataset(root, "val").unjudged == {(3, 3), (1, 0)}
    assert load_dataset(root, "val", ("water bottle", "ant")).unjudged == {(3, 0)}
    train = load_dataset(root, "train")
    assert (train.unjudged, train.findings) == (set(), ())


def test_images_that_no_list_numbers_are_all_judged(root: Path) -> None:
    write_blacklist(root, f"1 {BOTTLE}\n")
    write_list(root, "val", "".join(f"{image.name}\n" for image in VAL))
    assert load_dataset(root, "val").unjudged == set()
    (root / "ImageSets/DET/val.txt").unlink()
    assert load_dataset(root, "val").unjudged == set()


def test_a_faulty_line_of_the_blacklist_is_told_and_passed_over(root: Path) -> None:
    write_blacklist(root, f"1 {ANT}\n2 n9\nthree {ANT}\n2 {ANT} more\n99 {ANT}\n{ANT}\n{LONG} {ANT}\n")
    write_list(root, "val", "".join(f"{image.name} {row}\n" for row, image in enumerate(VAL, start=1)) + f"x {LONG}\n")

    data = load_dataset(root, "val")

    assert data.unjudged == {(1, 2)}
    assert [str(finding) for finding in data.findings if finding.kind == "bad-blacklist-line"] == [
        f"devkit/data/ILSVRC2014_det_validation_blacklist.txt: line {number} is '{line[:60]}', expected the number "
        "of an image and a synset id; correct or delete it; passed over"
        for number, line in ((3, f"three {ANT}"), (4, f"2 {ANT} more"), (6, ANT), (7, LONG))
    ]

"""The audit of a whole data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from detection.data.audit import audit_dataset
from detection.errors import InputError
from tests.builders import (
    CLASS_NAMES,
    ToyImage,
    ToyObject,
    toy_images,
    voc_xml,
    write_coco,
    write_pixels,
    write_voc,
    write_yolo,
)
from tests.data.contracts import only_finding

IMAGE = ToyImage("a", (40, 60), (ToyObject("cat", (0, 0, 10, 20)), ToyObject("dog", (5, 5, 45, 35), ignore=True)))
EMPTY = ToyImage("b", (40, 60))


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "clean", {"train": [IMAGE, EMPTY], "test": toy_images(2)})


def test_figures_of_a_clean_set(clean: Path) -> None:
    audit = audit_dataset(clean, ["train"])

    assert audit.findings == ()
    assert (audit.format, audit.reason) == ("voc", "VOC: has Annotations/*.xml and ImageSets/Main/")
    (summary,) = audit.splits
    assert (summary.split, summary.num_images, summary.num_empty_images) == ("train", 2, 1)
    assert (summary.num_objects, summary.num_ignored) == (2, 1)
    assert summary.objects_per_class == {"cat": 1, "dog": 1}
    assert (summary.smallest_box_wh, summary.largest_box_wh) == ((10, 20), (40, 30))


def test_split_without_objects_has_no_box_sizes(tmp_path: Path) -> None:
    (summary,) = audit_dataset(write_coco(tmp_path, {"train": [EMPTY]})).splits

    assert (summary.num_objects, summary.smallest_box_wh, summary.largest_box_wh) == (0, None, None)
    assert summary.objects_per_class == {"bird": 0, "cat": 0, "dog": 0}


def test_every_split_is_read_and_every_image_decoded_once(tmp_path: Path) -> None:
    splits = {"train": [IMAGE], "val": [EMPTY], "trainval": [IMAGE, EMPTY]}
    read: list[str] = []
    decoded: list[tuple[int, int]] = []

    audit = audit_dataset(
        write_voc(tmp_path, splits), on_split=read.append, on_image=lambda *numbers: decoded.append(numbers)
    )

    assert [summary.split for summary in audit.splits] == read == ["train", "trainval", "val"]
    assert decoded == [(1, 2), (2, 2)]
    assert sorted(path.name for path in audit.pictures) == ["a.jpg", "b.jpg"]
    assert audit.findings == ()  # trainval holds train and val on purpose.


def test_truncated_image_is_a_finding_though_the_reader_keeps_it(clean: Path) -> None:
    path = clean / "JPEGImages/b.jpg"
    path.write_bytes(path.read_bytes()[:-300])

    finding = only_finding(audit_dataset(clean, ["train"]).findings, "unreadable-image")

    assert finding.file == "JPEGImages/b.jpg"
    assert finding.message.startswith("truncated JPEG (")


def test_image_that_cannot_be_opened_any_more_ends_nothing(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "a.jpg":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)

    audit = audit_dataset(clean, ["train"])

    finding = only_finding(audit.findings, "unreadable-image")
    assert str(finding) == "JPEGImages/a.jpg: Permission denied; give a readable image file; left out"
    assert [path.name for path in audit.pictures] == ["b.jpg"]


def test_files_that_no_split_uses(clean: Path) -> None:
    write_pixels(clean / "JPEGImages", toy_images(5, prefix="stray"))
    (clean / "Annotations/stray0.xml").write_text(voc_xml(toy_images(1, prefix="stray")[0]), encoding="utf-8")

    findings = [str(finding) for finding in audit_dataset(clean).findings if finding.kind.startswith("unlisted")]

    assert findings == [
        "JPEGImages/: 5 images are in no split: stray0.jpg, stray1.jpg, stray2.jpg and 2 more; "
        "label and list them, or move them away; not used",
        "Annotations/: 1 label files are in no list of ImageSets/Main/: stray0; "
        "label and list them, or move them away; not used",
    ]
    only_train = audit_dataset(clean, ["train"]).findings  # Of the files of the others nothing is known then.
    assert [finding.kind for finding in only_train] == []


@pytest.mark.parametrize("line", ["stray\t1", "stray  -1", "stray.jpg 0"])
def test_lists_of_one_class_name_their_label_files(clean: Path, line: str) -> None:
    write_pixels(clean / "JPEGImages", [toy_images(1)[0]._replace(name="stray")])
    (clean / "Annotations/stray.xml").write_text(voc_xml(toy_images(1)[0]._replace(name="stray")), encoding="utf-8")
    (clean / "ImageSets/Main/more.txt").write_text(f"{line}\n", encoding="utf-8")
    assert [finding for finding in audit_dataset(clean).findings if finding.kind.startswith("unlisted")] == []


def test_listed_image_that_cannot_be_opened_is_not_told_as_unlisted(clean: Path) -> None:
    (clean / "JPEGImages/b.jpg").write_bytes(b"")

    kinds = [finding.kind for finding in audit_dataset(clean).findings]

    assert kinds == ["unreadable-image", "foreign-class", "untaught-class"]


def test_images_in_a_folder_that_coco_jsons_share(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": toy_images(2), "val": toy_images(2, prefix="val")})
    (root / "train").rename(root / "images")
    shutil.copytree(root / "val", root / "images", dirs_exist_ok=True)
    shutil.rmtree(root / "val")
    write_pixels(root / "images", toy_images(1, prefix="stray"))

    finding = only_finding(audit_dataset(root).findings, "unlisted-image")

    assert finding.message == "1 images are in no split: stray0.jpg"


def test_images_in_a_folder_that_no_label_names(tmp_path: Path) -> None:
    parts = {split: toy_images(2, prefix=split) for split in ("train", "val")}
    named = {s: [image._replace(name=f"site_a/{image.name}") for image in images] for s, images in parts.items()}
    root = write_coco(tmp_path, named)
    (root / "train").rename(root / "images")
    shutil.copytree(root / "val", root / "images", dirs_exist_ok=True)
    shutil.rmtree(root / "val")
    write_pixels(root / "images/site_b", toy_images(4, prefix="stray"))
    write_pixels(root / "elsewhere", toy_images(1))

    finding = only_finding(audit_dataset(root).findings, "unlisted-image")

    expected = "4 images are in no split: site_b/stray0.jpg, site_b/stray1.jpg, site_b/stray2.jpg and 1 more"
    assert (finding.file, finding.message) == ("images/", expected)


def test_a_yolo_set_that_lies_elsewhere_is_searched_only_where_its_images_are(tmp_path: Path) -> None:
    """Its images are named by whole paths, or from a folder in which there may lie anything."""
    images = write_yolo(tmp_path / "elsewhere", {"train": toy_images(2)})
    write_pixels(images / "previews", toy_images(2))
    names = {"names": list(CLASS_NAMES)}
    for number, places in enumerate(
        ({"path": "../elsewhere", "train": "images/train"}, {"train": str(images / "images/train")})
    ):
        yaml_file = tmp_path / f"{number}/data.yaml"
        yaml_file.parent.mkdir()
        yaml_file.write_text(yaml.safe_dump({**places, **names}), encoding="utf-8")
        assert "unlisted-image" not in {finding.kind for finding in audit_dataset(yaml_file.parent).findings}


def test_one_json_of_several_says_nothing_of_the_images_of_the_others(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": toy_images(2), "val": toy_images(2, prefix="val")})
    (root / "train").rename(root / "images")
    shutil.copytree(root / "val", root / "images", dirs_exist_ok=True)
    shutil.rmtree(root / "val")

    assert "unlisted-image" not in {f.kind for f in audit_dataset(root / "annotations/instances_val.json").findings}

    (root / "annotations/instances_train.json").unlink()
    only_finding(audit_dataset(root / "annotations/instances_val.json").findings, "unlisted-image")


def test_images_that_a_reader_has_told_of_are_told_once(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train": toy_images(2), "val": toy_images(2, prefix="val")})
    write_pixels(root / "train", toy_images(1, prefix="stray"))

    finding = only_finding(audit_dataset(root).findings, "unlisted-image")

    assert finding.message == "1 images of train/ are not listed: stray0.jpg"
    write_pixels(root / "train/deeper", toy_images(1, prefix="stray"))
    assert only_finding(audit_dataset(root).findings, "unlisted-image").message.startswith("2 images of train/")


def test_findings_of_the_readers_are_told_once(tmp_path: Path) -> None:
    bad = IMAGE._replace(objects=(ToyObject("cat", (9, 9, 9, 9)),))

    audit = audit_dataset(write_voc(tmp_path, {"train": [bad], "trainval": [bad]}))

    only_finding(audit.findings, "degenerate-box")


def test_class_that_only_another_split_has(clean: Path) -> None:
    foreign, untaught = audit_dataset(clean).findings

    assert str(foreign) == (
        "split test: has classes that split 'train' lacks: bird; "
        "correct the names, or add such objects; 'train' has cat, dog"
    )
    # The only dog of the training part is a crowd.
    assert untaught.message == "has objects of classes of which split 'train' has none to learn from: dog (1)"


def test_same_image_in_two_splits(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"trainval": [IMAGE], "test": [IMAGE._replace(name="copy"), EMPTY]})
    shutil.copy(root / "JPEGImages/a.jpg", root / "JPEGImages/copy.jpg")

    finding = only_finding(audit_dataset(root).findings, "shared-image")

    assert finding.file == "a.jpg"
    assert finding.message == "split 'trainval' has the same image as 'copy.jpg' in split 'test'"


def test_no_readable_image_at_all(clean: Path) -> None:
    for path in (clean / "JPEGImages").iterdir():
        path.write_bytes(b"")

    audit = audit_dataset(clean)

    assert [summary.num_images for summary in audit.splits] == [0, 0]
    assert {finding.kind for finding in audit.findings} == {"unreadable-image", "foreign-class"}


def test_split_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": [IMAGE], "val": []})

    audit = audit_dataset(root)

    assert [summary.split for summary in audit.splits] == ["train"]
    assert str(only_finding(audit.findings, "unreadable-split")) == (
        "split val: split 'val' lists no image; name another split or fill it; the other splits were checked"
    )


def test_split_that_was_asked_for_must_be_readable(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": [IMAGE], "val": []})

    with pytest.raises(InputError, match="split 'val' lists no image"):
        audit_dataset(root, ["train", "val"])


def test_no_split_can_be_read(clean: Path) -> None:
    for name in ("test", "train"):
        (clean / f"ImageSets/Main/{name}.txt").write_text("", encoding="utf-8")

    with pytest.raises(InputError, match="split 'test' lists no image"):
        audit_dataset(clean)

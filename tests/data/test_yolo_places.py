"""Where the images and label files of a YOLO data set lie, as people and tools write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.data.yolo import label_path
from detection.errors import InputError
from tests.builders import ToyImage, toy_images, write_pixels, write_yolo
from tests.data.contracts import assert_valid_data, only_finding


def write_with(root: Path, num_images: int = 3, **changes: Any) -> Path:
    """A data set of some images in images/train/ whose yaml was edited by hand; None takes a key away."""
    write_yolo(root, {"train": toy_images(num_images)})
    content = yaml.safe_load((root / "data.yaml").read_text(encoding="utf-8")) | changes
    written = {key: value for key, value in content.items() if value is not None}
    (root / "data.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return root


def read_train(root: Path) -> DetectionData:
    data = load_dataset(root, "train")
    assert_valid_data(data)
    return data


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("root/images/train/a.jpg", "root/labels/train/a.txt"),
        ("root/images/train/images/a.b.png", "root/images/train/labels/a.b.txt"),
        ("root/train/images/a.jpg", "root/train/labels/a.txt"),
        ("root/Images/a.jpg", "root/Labels/a.txt"),
        ("root/train/a.jpg", "root/train/a.txt"),
        ("root/images", "root/images.txt"),
        ("elsewhere/images/a.jpg", "elsewhere/labels/a.txt"),
    ],
)
def test_label_files_lie_parallel(image: str, labels: str) -> None:
    assert label_path(Path(image), Path("root")) == Path(labels)


def test_folder_of_the_data_set_may_be_called_images() -> None:
    assert label_path(Path("images/cards/train/a.jpg"), Path("images/cards")) == Path("images/cards/train/a.txt")
    assert label_path(Path("images/a.jpg"), Path("images")) == Path("images/a.txt")


@pytest.mark.parametrize(("images", "labels"), [("images", "Labels"), ("Images", "labels"), ("IMAGES", "Labels")])
def test_label_file_with_another_capital_is_found(tmp_path: Path, images: str, labels: str) -> None:
    (tmp_path / labels).mkdir()
    (tmp_path / labels / "a.txt").touch()

    assert label_path(tmp_path / images / "a.jpg", tmp_path).samefile(tmp_path / labels / "a.txt")


def test_label_file_beside_the_image_is_taken_where_there_is_no_parallel_one(tmp_path: Path) -> None:
    root = write_with(tmp_path / "images")
    for path in (root / "labels/train").iterdir():
        path.rename(root / "images/train" / path.name)

    data = read_train(root)

    assert [len(image.boxes) for image in data.images] == [3, 0, 3]
    assert data.findings == ()


def test_path_that_is_the_image_folder_leads_to_the_labels_beside_it(tmp_path: Path) -> None:
    root = write_with(tmp_path, path="images", train="train")

    assert [len(image.boxes) for image in read_train(root).images] == [3, 0, 3]


@pytest.mark.parametrize(
    "source", ["../images/train", "../../images/train", ["images/train"], "./images/train/", "images"]
)
def test_sources_as_people_write_them(tmp_path: Path, source: object) -> None:
    """Roboflow's yaml points one folder too high."""
    data = read_train(write_with(tmp_path / "data", train=source))

    assert [len(image.boxes) for image in data.images] == [3, 0, 3]
    assert data.reason == "YOLO: has data.yaml with class names"


def test_images_of_this_data_set_come_before_those_of_another(tmp_path: Path) -> None:
    write_pixels(tmp_path / "images/train", [ToyImage("other", (40, 60))])

    data = read_train(write_with(tmp_path / "data", train="../images/train"))

    assert [image.path.stem for image in data.images] == ["image0", "image1", "image2"]


def test_images_outside_are_told(tmp_path: Path) -> None:
    write_yolo(tmp_path / "shared", {"train": toy_images(3)})
    root = write_with(tmp_path / "data", train="../shared/images/train")

    data = load_dataset(root, "train")

    assert [len(image.boxes) for image in data.images] == [3, 0, 3]
    assert data.reason == f"YOLO: has data.yaml; images below {tmp_path / 'shared/images/train'}"


def test_path_in_the_yaml_is_the_base_and_told(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "images", {"train": toy_images(2)})

    data = read_train(write_with(tmp_path / "elsewhere", path="../images"))

    assert [image.file_name for image in data.images] == ["images/train/image0.jpg", "images/train/image1.jpg"]
    assert [len(image.boxes) for image in data.images] == [3, 0]
    assert data.reason == f"YOLO: has data.yaml; images below {root}"
    assert data.findings == ()


def test_path_in_the_yaml_that_does_not_exist_is_told(tmp_path: Path) -> None:
    data = read_train(write_with(tmp_path, path="/no/such/place"))

    assert len(data.images) == 3
    assert str(only_finding(data.findings, "path-missing")) == (
        "data.yaml: path is '/no/such/place', but there is no such folder; "
        "correct or delete it; the yaml's folder is used"
    )


def test_list_file(tmp_path: Path) -> None:
    root = write_with(tmp_path, train="list.txt")
    text = f"./images/train/image2.jpg\n\n{root / 'images/train'}/image0.jpg\nimages\\train\\image1.jpg\n"
    (root / "list.txt").write_text(text, encoding="utf-8")

    data = read_train(root)

    assert [image.file_name for image in data.images] == [f"images/train/image{i}.jpg" for i in (2, 0, 1)]
    assert data.findings == ()


def test_list_file_that_names_a_folder_that_is_gone(tmp_path: Path) -> None:
    root = write_with(tmp_path, train="train.txt")
    (root / "train.txt").write_text("images/train/image0.jpg\nimages/gone/x.jpg", encoding="utf-8")

    data = read_train(root)

    assert [image.file_name for image in data.images] == ["images/train/image0.jpg"]
    assert "images/gone/x.jpg" in [finding.file for finding in data.findings if finding.kind == "missing-image"]


def test_list_file_with_absolute_paths_in_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_with(tmp_path / "data", train="list.txt")
    lines = "".join(f"{root}/images/train/image{i}.jpg\n" for i in range(3))
    (root / "list.txt").write_text(lines, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    data = read_train(Path("data"))

    assert [image.file_name for image in data.images] == [f"images/train/image{i}.jpg" for i in range(3)]
    assert [len(image.boxes) for image in data.images] == [3, 0, 3]
    assert data.findings == ()


def test_list_file_that_leads_out_or_repeats(tmp_path: Path) -> None:
    write_pixels(tmp_path, [ToyImage("a", (40, 60))])
    root = write_with(tmp_path / "data", 1, train="list.txt")
    lines = ["images/train/image0.jpg", "../a.jpg", f"{tmp_path}/a.jpg", "images/train/image0.jpg"]
    (root / "list.txt").write_text("\n".join(lines), encoding="utf-8")

    data = read_train(root)

    assert [image.file_name for image in data.images] == ["images/train/image0.jpg"]
    assert [finding.kind for finding in data.findings] == ["duplicate-image", "unsafe-name", "unsafe-name"]
    assert data.findings[1].message == "'../a.jpg' leads out of the data folder"


def test_missing_source_tells_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train: no such folder or list file '.*nowhere'; correct the path"):
        load_dataset(write_with(tmp_path / "one", train="nowhere"), "train")
    with pytest.raises(InputError, match=r"list file '[^']*two/nowhere' or '[^']*two/\.\./nowhere'; correct"):
        load_dataset(write_with(tmp_path / "two", train="../nowhere"), "train")


def test_yaml_without_splits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.yaml: names no split; add 'train: images/train'$"):
        load_dataset(write_with(tmp_path, train=None), "train")


def test_lists_whose_names_begin_with_data(tmp_path: Path) -> None:
    """As CVAT and Datumaro write them: data/ is where they think that the data set lies."""
    root = write_with(tmp_path, train="train.txt")
    lines = "".join(f"data/images/train/image{number}.jpg\n" for number in range(3))
    (root / "train.txt").write_text(lines, encoding="utf-8")
    data = read_train(root)
    assert [image.file_name for image in data.images] == [f"images/train/image{number}.jpg" for number in range(3)]
    assert data.findings == ()
    (root / "images").rename(tmp_path / "moved")
    (root / "data").mkdir()
    (tmp_path / "moved").rename(root / "data/images")
    (root / "labels").rename(root / "data/labels")
    assert read_train(root).images[0].file_name == "data/images/train/image0.jpg"


@pytest.mark.parametrize(
    ("key", "split"), [("Train", "train"), ("valid", "val"), ("Validation", "val"), ("VAL", "val"), ("Test", "test")]
)
def test_splits_under_other_names(tmp_path: Path, key: str, split: str) -> None:
    root = write_with(tmp_path, train=None, **{key: "images/train"})
    assert [len(image.boxes) for image in load_dataset(root, split).images] == [3, 0, 3]


@pytest.mark.parametrize("names", ["[yes, no, 010]", "{0: yes, 1: no, 2: 010}"])
def test_names_that_yaml_takes_for_something_else(tmp_path: Path, names: str) -> None:
    root = write_with(tmp_path, names=None)
    with (root / "data.yaml").open("a", encoding="utf-8") as file:
        file.write(f"names: {names}\n")
    assert read_train(root).class_names == ("yes", "no", "010")


def test_hidden_files_beside_the_labels_are_none_of_them(tmp_path: Path) -> None:
    root = write_with(tmp_path)
    (root / "labels/train/._image0.txt").write_bytes(b"\0\5\x16\7")  # macOS
    assert read_train(root).findings == ()

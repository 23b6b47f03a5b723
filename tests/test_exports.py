"""CSV, YOLO and VOC exports: geometry exact, names harmless, bytes repeatable."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from detection.exports import write_csv, write_voc, write_yolo
from detection.predictions import ImageDetections
from detection.structures import Detections
from tests.evaluation.splits import make_detections

NAMES = ("cat", "a <b> & 'c'")
SIZE_HW = (200, 300)


def image(file_name: str = "a.jpg", found: Detections | None = None) -> ImageDetections:
    """One image with two detections, of whole and of odd edges."""
    rows = [((0, 0, 300, 200), 0.5, 0), ((10.3, 7.1, 20.7, 9.9), 0.1, 1)]
    return ImageDetections(1, file_name, make_detections(rows) if found is None else found)


def voc_boxes(path: Path) -> list[list[float]]:
    """Reads a VOC file back to half-open boxes."""
    boxes = []
    for item in ET.parse(path).getroot().iter("object"):
        xmin, ymin, xmax, ymax = (float(item.findtext(f"bndbox/{tag}", "")) for tag in ("xmin", "ymin", "xmax", "ymax"))
        boxes.append([xmin - 1, ymin - 1, xmax, ymax])
    return boxes


def test_voc_round_trip_is_exact(tmp_path: Path) -> None:
    write_voc(tmp_path, [image()], file_names=["a.jpg"], class_names=NAMES)
    assert torch.equal(torch.tensor(voc_boxes(tmp_path / "a.xml")), image().detections.boxes)
    root = ET.parse(tmp_path / "a.xml").getroot()
    first = root.find("object/bndbox")
    assert first is not None
    # The whole image of 300 x 200 is 1..300, 1..200, written as whole numbers.
    assert [corner.text for corner in first] == ["1", "1", "300", "200"]
    assert [item.findtext("name") for item in root.iter("object")] == list(NAMES)
    assert [item.findtext("score") for item in root.iter("object")] == ["0.5", "0.1"]
    assert (root.findtext("size/width"), root.findtext("size/height")) == ("300", "200")


def test_yolo_round_trip_is_exact(tmp_path: Path) -> None:
    write_yolo(tmp_path, [image()], file_names=["a.jpg"], class_names=NAMES)
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert lines[0] == "0 0.5 0.5 1.0 1.0 0.5"
    boxes = []
    for line in lines:
        _, cx, cy, width, height, _ = (float(number) for number in line.split())
        boxes.append([(cx - width / 2) * 300, (cy - height / 2) * 200, (cx + width / 2) * 300, (cy + height / 2) * 200])
    assert torch.allclose(torch.tensor(boxes), image().detections.boxes, rtol=0, atol=1e-5)
    assert [line.split()[0] for line in lines] == ["0", "1"]
    assert (tmp_path / "classes.txt").read_text() == "cat\na <b> & 'c'\n"


def test_csv_holds_every_detection(tmp_path: Path) -> None:
    empty = ImageDetections(2, "b.jpg", make_detections([]))
    write_csv(tmp_path / "all.csv", [image('comma, "quote".jpg'), empty], class_names=NAMES)
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["file_name", "class", "score", "xmin", "ymin", "xmax", "ymax"],
        ['comma, "quote".jpg', "cat", "0.5", "0.0", "0.0", "300.0", "200.0"],
        ['comma, "quote".jpg', "a <b> & 'c'", "0.1", "10.3", "7.1", "20.7", "9.9"],
    ]


Writer = Callable[..., None]


@pytest.mark.parametrize(("writer", "suffix"), [(write_voc, ".xml"), (write_yolo, ".txt")])
class TestNames:
    """Where the file of an image goes."""

    def test_names_that_climb_stay_inside(self, tmp_path: Path, writer: Writer, suffix: str) -> None:
        hostile = ["../../up.jpg", "/etc/abs.jpg", "C:\\win.jpg", "a/../../b.jpg", "..\\back.jpg", "..", ""]
        out = tmp_path / "deep" / "out"
        writer(out, [image(name) for name in hostile], file_names=hostile, class_names=NAMES)
        written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "classes.txt"]
        assert len(written) == len(hostile)
        assert all(path.is_relative_to(out) for path in written)
        assert out / f"up{suffix}" in written
        assert out / "etc" / f"abs{suffix}" in written

    def test_subfolders_follow_the_image(self, tmp_path: Path, writer: Writer, suffix: str) -> None:
        writer(tmp_path, [image("day.1/a.b.jpg")], file_names=["day.1/a.b.jpg"], class_names=NAMES)
        assert (tmp_path / "day.1" / f"a.b{suffix}").is_file()

    def test_images_that_differ_in_suffix_or_case_get_files_of_their_own(
        self, tmp_path: Path, writer: Writer, suffix: str
    ) -> None:
        names = ["a.jpg", "a.png", "B.jpg", "b.jpg", "only.jpg", "a.jpg"]
        writer(tmp_path, [image(name) for name in names], file_names=names, class_names=NAMES)
        written = sorted(path.name for path in tmp_path.iterdir() if path.name != "classes.txt")
        expected = ["B.jpg", "a.jpg-2", "a.jpg", "a.png", "b.jpg-2", "only"]
        assert written == [name + suffix for name in expected]

    def test_names_as_long_as_a_file_system_bears(self, tmp_path: Path, writer: Writer, suffix: str) -> None:
        name = "写" * 83  # 249 bytes: with a suffix of the length of ".jpg" 253, the most being 255
        names = [f"{name}.jpg", f"{name}.png", f"deep/{name}x.webp"]
        writer(tmp_path, [image(name) for name in names], file_names=names, class_names=NAMES)
        written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "classes.txt"]
        assert len(written) == len(names)
        assert (tmp_path / "deep" / f"{name}x{suffix}") in written

    def test_no_file_stands_where_another_needs_a_folder(self, tmp_path: Path, writer: Writer, suffix: str) -> None:
        names = ["scan.jpg", f"scan{suffix}/a.jpg", f"scan{suffix}/b/c.jpg", "classes.txt/d.jpg", f"{'x' * 300}/e.jpg"]
        writer(tmp_path, [image(name) for name in names], file_names=names, class_names=NAMES)
        written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        folder = "classes.txt_" if suffix == ".txt" else "classes.txt"
        assert written - {"classes.txt"} == {
            f"scan-2{suffix}",
            f"scan{suffix}/a{suffix}",
            f"scan{suffix}/b/c{suffix}",
            f"{folder}/d{suffix}",
            f"{'x' * 255}/e{suffix}",
        }

    def test_no_detections_give_a_file_without_objects(self, tmp_path: Path, writer: Writer, suffix: str) -> None:
        writer(tmp_path, [image(found=make_detections([]))], file_names=["a.jpg"], class_names=NAMES)
        text = (tmp_path / f"a{suffix}").read_text()
        assert text == "" if suffix == ".txt" else "<object>" not in text

    def test_bytes_repeat(self, tmp_path: Path, writer: Writer, suffix: str) -> None:
        for folder in ("one", "two"):
            writer(tmp_path / folder, [image()], file_names=["a.jpg"], class_names=NAMES)
        assert (tmp_path / "one" / f"a{suffix}").read_bytes() == (tmp_path / "two" / f"a{suffix}").read_bytes()

    def test_images_are_taken_one_at_a_time(self, tmp_path: Path, writer: Writer, suffix: str) -> None:
        names = ["a.jpg", "a.png", "b.jpg"]

        def stream() -> Iterator[ImageDetections]:
            for number, name in enumerate(names):
                yield image(name)
                assert len(list(tmp_path.iterdir())) == number + 1  # Written before the next one is asked for.

        writer(tmp_path, stream(), file_names=names, class_names=NAMES)
        written = {path.name for path in tmp_path.iterdir()} - {"classes.txt"}
        assert written == {f"a.jpg{suffix}", f"a.png{suffix}", f"b{suffix}"}

    def test_names_and_images_must_go_together(self, tmp_path: Path, writer: Writer, suffix: str) -> None:
        with pytest.raises(ValueError, match=r"expected image 'b\.jpg' .* got 'a\.jpg'"):
            writer(tmp_path, [image("a.jpg")], file_names=["b.jpg"], class_names=NAMES)
        with pytest.raises(ValueError, match="shorter"):
            writer(tmp_path, [image("a.jpg"), image("b.jpg")], file_names=["a.jpg"], class_names=NAMES)


def test_an_image_named_like_the_class_list_does_not_replace_it(tmp_path: Path) -> None:
    write_yolo(tmp_path, [image("classes.jpg")], file_names=["classes.jpg"], class_names=NAMES)
    assert (tmp_path / "classes.txt").read_text().startswith("cat\n")
    assert (tmp_path / "classes.jpg.txt").read_text().startswith("0 0.5 0.5")


def test_characters_that_xml_forbids_do_not_break_the_file(tmp_path: Path) -> None:
    write_voc(tmp_path, [image()], file_names=["a.jpg"], class_names=("nul\x00bell\x07", "ü 漢 😀"))
    names = [item.findtext("name") for item in ET.parse(tmp_path / "a.xml").getroot().iter("object")]
    assert names == ["nul bell ", "ü 漢 😀"]

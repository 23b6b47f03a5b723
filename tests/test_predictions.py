"""COCO results: written exactly, read strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import results_file
from detection.data.records import DetectionData
from detection.errors import InputError
from detection.evaluation.summary import evaluate_detections
from detection.predictions import ImageDetections, write_coco
from detection.results_file import read_detections
from detection.structures import Detections
from tests.evaluation.splits import make_detections, make_record, make_split, random_split

NAMES, IDS = ("cat", "dog"), (90, 11)
ROW = {"image_id": 4, "category_id": 90, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.5}


@pytest.fixture
def data() -> DetectionData:
    """Images 4 and 7."""
    return make_split([make_record(4), make_record(7)], class_names=NAMES, category_ids=IDS)


def write_rows(folder: Path, content: Any) -> Path:
    """A results file of another tool."""
    path = folder / "results.json"
    path.write_text(json.dumps(content))
    return path


def awkward() -> Detections:
    """Edges and scores that are not short in decimals, and far apart in size."""
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(50, 2, generator=generator) * torch.logspace(-3, 3, 50)[:, None]
    boxes = torch.cat([corners, corners + torch.rand(50, 2, generator=generator) * 70], dim=1)
    scores = torch.rand(50, generator=generator).sort(descending=True).values
    return Detections(boxes, scores, torch.arange(50) % 2, (200, 300))


def test_what_is_written_is_read_back_exactly(tmp_path: Path, data: DetectionData) -> None:
    images = [ImageDetections(4, "image4.jpg", awkward()), ImageDetections(7, "image7.jpg", make_detections([]))]
    write_coco(tmp_path, images, class_names=NAMES, category_ids=IDS)
    read = read_detections(tmp_path / "detections.json", data).detections
    assert list(read) == [4]
    assert torch.equal(read[4].boxes, awkward().boxes)
    assert torch.equal(read[4].scores, awkward().scores)
    assert torch.equal(read[4].labels, awkward().labels)
    assert read[4].image_size_hw == (200, 300)
    assert json.loads((tmp_path / "images.json").read_text()) == {
        "images": [
            {"id": 4, "file_name": "image4.jpg", "width": 300, "height": 200},
            {"id": 7, "file_name": "image7.jpg", "width": 300, "height": 200},
        ],
        "categories": [{"id": 90, "name": "cat"}, {"id": 11, "name": "dog"}],
    }


def test_the_file_is_a_plain_coco_list(tmp_path: Path) -> None:
    found = make_detections([((1, 2, 31, 42), 0.5, 1), ((0, 0, 5, 5), 0.25, 0)])
    write_coco(tmp_path, [ImageDetections(4, "é.jpg", found)], class_names=NAMES, category_ids=IDS)
    assert (tmp_path / "detections.json").read_bytes() == (
        b'[\n{"image_id": 4, "category_id": 11, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.5},\n'
        b'{"image_id": 4, "category_id": 90, "bbox": [0.0, 0.0, 5.0, 5.0], "score": 0.25}\n]\n'
    )


def test_data_without_numbers_of_classes_say_how_the_results_were_read(tmp_path: Path, data: DetectionData) -> None:
    voc = replace(data, format="voc", category_ids=(1, 2))
    read = read_detections(write_rows(tmp_path, [ROW | {"category_id": 2}]), voc)
    assert read.detections[4].labels.tolist() == [1]
    assert [warning for warning in read.warnings if "VOC data numbers no classes" in warning] == [
        "VOC data numbers no classes; those of results.json were taken for 1 cat, 2 dog, sorted by name"
    ]
    assert read_detections(write_rows(tmp_path, [ROW]), data).warnings == ()


def test_ids_that_are_texts_are_told_to_be_numbered(tmp_path: Path, data: DetectionData) -> None:
    with pytest.raises(InputError, match="image_id is 'photo-1', expected an integer; number images and classes by"):
        read_detections(write_rows(tmp_path, [ROW | {"image_id": "photo-1"}]), data)


def test_no_detections_give_an_empty_list(tmp_path: Path, data: DetectionData) -> None:
    write_coco(tmp_path, [], class_names=NAMES, category_ids=IDS)
    assert json.loads((tmp_path / "detections.json").read_text()) == []
    assert read_detections(tmp_path / "detections.json", data).detections == {}


def test_numbers_are_the_same_after_a_trip_through_the_file(tmp_path: Path) -> None:
    data, detections = random_split(7)
    images = [
        ImageDetections(record.image_id, record.file_name, detections.get(record.image_id, make_detections([])))
        for record in data.images
    ]
    write_coco(tmp_path, images, class_names=data.class_names, category_ids=data.category_ids)
    read = read_detections(tmp_path / "detections.json", data).detections
    assert evaluate_detections(data, read).to_metrics() == evaluate_detections(data, detections).to_metrics()


def test_rows_of_another_tool_are_sorted_and_labelled_by_the_original_ids(tmp_path: Path, data: DetectionData) -> None:
    rows = [ROW | {"score": 0.25}, ROW | {"category_id": 11, "bbox": [0, 0, 5, 5], "score": 1}, ROW | {"image_id": 7}]
    read = read_detections(write_rows(tmp_path, rows), data).detections
    assert read[4].labels.tolist() == [1, 0]
    assert read[4].scores.tolist() == [1.0, 0.25]
    assert read[4].boxes.tolist() == [[0, 0, 5, 5], [1, 2, 31, 42]]
    assert read[7].boxes.tolist() == [[1, 2, 31, 42]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW | {"category_id": 3}, "row 2: category_id 3 is unknown, expected one of 90, 11; use the category ids"),
        (ROW | {"category_id": "cat"}, "row 2: category_id is 'cat', expected an integer"),
        (ROW | {"category_id": True}, "row 2: category_id is True, expected an integer"),
        (ROW | {"image_id": 5}, "row 2: image_id 5 is unknown, expected one of 4, 7; give the split"),
        (ROW | {"image_id": "4"}, "row 2: image_id is '4', expected an integer"),
        (ROW | {"bbox": [0, 0, float("nan"), 4]}, "row 2: bbox holds nan, expected a finite number"),
        (ROW | {"bbox": [0, 0, float("inf"), 4]}, "row 2: bbox holds inf, expected a finite number"),
        (ROW | {"bbox": [0, 0, 10**400, 4]}, "row 2: bbox holds 1000"),
        (ROW | {"bbox": [0, 0, "3", 4]}, "row 2: bbox holds '3', expected a number"),
        (ROW | {"bbox": [0, 0, 3]}, r"row 2: bbox is \[0, 0, 3\], expected four numbers"),
        (ROW | {"bbox": [9, 9, -3, 4]}, "row 2: bbox is .* its size is negative"),
        (ROW | {"score": None}, "row 2: score holds None, expected a number"),
        (ROW | {"score": 87.5}, "row 2: score is 87.5, expected 0 to 1; scale"),
        ({"image_id": 4}, "row 2: category_id is None"),
        ([4, 90], r"row 2: expected an object, got \[4, 90\]"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, data: DetectionData, row: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_detections(write_rows(tmp_path, [ROW, row]), data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"annotations": []}', "expected a list of detections"),
        ("\xff\xfe", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_results_list_is_refused(
    tmp_path: Path, data: DetectionData, text: str, message: str
) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_detections(path, data)


@pytest.mark.parametrize("piece", [1, 2, 5, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_rows_do_not_depend_on_the_pieces_that_are_read(
    tmp_path: Path, data: DetectionData, piece: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ROW | {"score": score / 8, "note": 'é], "[,{'} for score in range(8)]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False) + "\n ", encoding="utf-8-sig")
    monkeypatch.setattr(results_file, "_PIECE", piece)
    assert read_detections(path, data).detections[4].scores.tolist() == [score / 8 for score in range(7, -1, -1)]
    path.write_text(" [ ] ")
    assert read_detections(path, data).detections == {}


@settings(deadline=None)  # machines may be busy
@given(st.lists(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists)), st.data())
def test_entries_are_those_of_the_json_library(entries: list[object], draw: st.DataObject) -> None:
    text = json.dumps(entries, indent=draw.draw(st.sampled_from([None, 1])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results_file, "_PIECE", draw.draw(st.integers(1, 40)))
        assert list(results_file._iterate_list(StringIO(text))) == entries
        cut = text[: draw.draw(st.integers(0, len(text) - 1))]
        with pytest.raises((ValueError, results_file._NoListError)):
            list(results_file._iterate_list(StringIO(cut)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[ROW ROW]", "after row 1: expected a comma"),
        ("[ROW, ROW", "after row 2: expected a comma or the end"),
        ("[ROW,]", "after row 1: Expecting value"),
        ("[ROW] ROW", "after row 1: something follows"),
        ("[,ROW]", "not valid JSON"),
    ],
)
def test_a_damaged_list_tells_where(tmp_path: Path, data: DetectionData, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text.replace("ROW", json.dumps(ROW)))
    with pytest.raises(InputError, match=message):
        read_detections(path, data)


def test_a_row_without_end_is_not_read_to_the_end(
    tmp_path: Path, data: DetectionData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_file, "_PIECE", 10)
    monkeypatch.setattr(results_file, "_LONGEST_ROW", 100)
    path = tmp_path / "results.json"
    path.write_text('[{"image_id": "' + "x" * 200 + '"}]')
    with pytest.raises(InputError, match="not valid JSON"):
        read_detections(path, data)


def test_a_missing_file_is_an_input_error(tmp_path: Path, data: DetectionData) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_detections(tmp_path / "absent.json", data)


def test_images_are_recognised_by_name_where_a_listing_tells_it(tmp_path: Path, data: DetectionData) -> None:
    # A run over a folder numbers its images from 1: here 4 is not the image 4 of the split.
    images = [
        ImageDetections(1, "image4.jpg", make_detections([((0, 0, 5, 5), 0.5, 0)])),
        ImageDetections(4, "image7.jpg", make_detections([((0, 0, 9, 9), 0.5, 1)])),
        ImageDetections(5, "other.jpg", make_detections([((0, 0, 3, 3), 0.5, 1)])),
    ]
    write_coco(tmp_path, images, class_names=NAMES, category_ids=IDS)
    read = read_detections(tmp_path / "detections.json", data).detections
    assert {image_id: found.boxes.tolist() for image_id, found in read.items()} == {
        4: [[0, 0, 5, 5]],
        7: [[0, 0, 9, 9]],
    }


def test_a_listing_of_other_images_or_classes_is_refused(tmp_path: Path, data: DetectionData) -> None:
    write_coco(tmp_path, [ImageDetections(4, "x.jpg", make_detections([]))], class_names=NAMES, category_ids=IDS)
    with pytest.raises(InputError, match=r"none of its 1 images is in split 'test'.*'image4.jpg'"):
        read_detections(tmp_path / "detections.json", data)
    image = ImageDetections(4, "image4.jpg", make_detections([]))
    write_coco(tmp_path, [image], class_names=("horse", "cow"), category_ids=IDS)
    with pytest.raises(InputError, match=r"classes \['horse', 'cow'\] is among .* \['cat', 'dog'\]; evaluate on"):
        read_detections(tmp_path / "detections.json", data)


def written_with(folder: Path, classes: dict[str, int], names: dict[int, str], label: int = 0) -> Path:
    """Results of a run of a detector with these classes, one detection in each image."""
    found = make_detections([((0, 0, 5, 5), 0.5, label)])
    images = [ImageDetections(number, name, found) for number, name in names.items()]
    write_coco(folder, images, class_names=list(classes), category_ids=list(classes.values()))
    return folder / "detections.json"


def test_classes_are_recognised_by_name_where_a_listing_tells_it(tmp_path: Path, data: DetectionData) -> None:
    # The detector numbers the classes its own way: its 90 is the dog, which has label 1 here.
    names = {4: "image4.jpg", 7: "image7.jpg"}
    read = read_detections(written_with(tmp_path, {"dog": 90, "cat": 3}, names), data)
    assert {image_id: found.labels.tolist() for image_id, found in read.detections.items()} == {4: [1], 7: [1]}
    assert read.warnings == ()


def test_rows_of_classes_that_the_split_lacks_are_left_out_and_counted(tmp_path: Path, data: DetectionData) -> None:
    classes = {"bird": 11, "cat": 2, "dog": 3}
    names = {4: "image4.jpg", 7: "image7.jpg", 8: "elsewhere.jpg"}
    path = written_with(tmp_path, classes, names)
    rows = [{**ROW, "category_id": 3}, {**ROW, "category_id": 11}, {**ROW, "image_id": 8, "category_id": 11}]
    path.write_text(json.dumps([*json.loads(path.read_text()), *rows]))
    read = read_detections(path, data)
    assert {image_id: found.labels.tolist() for image_id, found in read.detections.items()} == {4: [1]}
    # Not counted: the birds in an image that is not in the split.
    assert read.warnings == ("3 detections were left out: 'test' has none of the classes 'bird'",)
    path.write_text(json.dumps([{**ROW, "category_id": 90}]))
    with pytest.raises(InputError, match="row 1: category_id 90 is unknown, expected one of 11, 2, 3"):
        read_detections(path, data)


def test_a_class_that_the_detector_lacks_is_warned_of(tmp_path: Path, data: DetectionData) -> None:
    read = read_detections(written_with(tmp_path, {"cat": 1}, {4: "image4.jpg", 7: "image7.jpg"}), data)
    assert len(read.detections) == 2
    assert read.warnings == ("the detector does not know ['dog'] of 'test'; such objects count as missed",)


def test_images_that_the_listing_lacks_are_warned_of(tmp_path: Path, data: DetectionData) -> None:
    path = written_with(tmp_path, {"cat": 1, "dog": 2}, {1: "image7.jpg"})
    read = read_detections(path, data)
    assert list(read.detections) == [7]
    assert read.warnings == (
        f"1 of 2 images of 'test' are not in {tmp_path / 'images.json'}; they count as images without detections",
    )
    (tmp_path / "images.json").unlink()
    assert read_detections(write_rows(tmp_path, [ROW]), data).warnings == ()


def test_rows_of_images_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path, data: DetectionData) -> None:
    path = write_rows(tmp_path, [{**ROW, "image_id": 5}, ROW, {**ROW, "image_id": 5}])
    with pytest.raises(InputError, match="row 1: image_id 5 is unknown"):
        read_detections(path, data)
    again = replace(data, unreadable=frozenset({4000}), other_ids={5: 4000})  # listed once more, and as unreadable
    assert read_detections(path, again).warnings[-1].startswith("2 detections were left out: the files of their images")
    read = read_detections(path, replace(data, unreadable=frozenset({5, 6})))
    assert read.warnings == ("2 detections were left out: the files of their images are missing or broken",)
    assert {image_id: len(found) for image_id, found in read.detections.items()} == {4: 1}


def yolo_split(*file_names: str) -> DetectionData:
    """Images 1, 2, .. with these names."""
    records = [replace(make_record(number), file_name=name) for number, name in enumerate(file_names, start=1)]
    return make_split(records, class_names=NAMES, category_ids=IDS)


@pytest.mark.parametrize(
    ("in_split", "listed", "expected"),
    [
        (["test/images/a.jpg", "test/images/b.jpg"], ["b.jpg", "a.jpg"], {1: 11, 2: 10}),
        (["a.jpg", "b.jpg"], ["deep/er/b.jpg", "c.jpg"], {2: 10}),
        # A base name that occurs twice on a side tells nothing.
        (["x/a.jpg", "y/a.jpg", "y/b.jpg"], ["a.jpg", "b.jpg"], {3: 11}),
        (["x/a.jpg", "x/b.jpg"], ["u/a.jpg", "v/a.jpg", "v/b.jpg"], {2: 12}),
        # But more of the names may.
        (["images/x/a.jpg", "images/y/a.jpg", "images/y/b.jpg"], ["x/a.jpg", "y/a.jpg"], {1: 10, 2: 11}),
        (["a.jpg", "x/a.jpg", "b.jpg"], ["up/x/a.jpg", "up/a.jpg", "up/b.jpg"], {2: 10, 3: 12}),
        # Where full names are the same, base names tell nothing.
        (["x/a.jpg", "x/b.jpg"], ["x/a.jpg", "y/b.jpg"], {1: 10}),
    ],
)
def test_base_names_help_where_no_name_is_the_same(
    tmp_path: Path, in_split: list[str], listed: list[str], expected: dict[int, int]
) -> None:
    path = written_with(tmp_path, {"cat": 90, "dog": 11}, dict(enumerate(listed, start=10)))
    # The score says which image of the run a detection is from.
    path.write_text(json.dumps([{**row, "score": row["image_id"] / 64} for row in json.loads(path.read_text())]))
    read = read_detections(path, yolo_split(*in_split))
    assert {image_id: int(64 * found.scores[0]) for image_id, found in read.detections.items()} == expected
    assert len(read.warnings) == (len(expected) < len(in_split))


def test_ambiguous_base_names_alone_are_an_error(tmp_path: Path) -> None:
    path = written_with(tmp_path, {"cat": 90, "dog": 11}, {1: "a.jpg"})
    with pytest.raises(InputError, match="none of its 1 images is in split"):
        read_detections(path, yolo_split("x/a.jpg", "y/a.jpg"))


@pytest.mark.parametrize("content", [[], {}, {"images": [{}], "categories": []}, {"images": [], "categories": [3]}])
def test_a_broken_listing_is_refused(tmp_path: Path, data: DetectionData, content: Any) -> None:
    (tmp_path / "images.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="write it again or remove the file"):
        read_detections(write_rows(tmp_path, [ROW]), data)


def test_an_error_while_writing_leaves_the_old_files(tmp_path: Path) -> None:
    image = ImageDetections(4, "image4.jpg", make_detections([((0, 0, 5, 5), 0.5, 0)]))
    write_coco(tmp_path, [image], class_names=NAMES, category_ids=IDS)
    before = (tmp_path / "detections.json").read_bytes()
    unknown_label = ImageDetections(7, "image7.jpg", make_detections([((0, 0, 5, 5), 0.5, 2)]))
    with pytest.raises(IndexError):
        write_coco(tmp_path, [image, unknown_label], class_names=NAMES, category_ids=IDS)
    assert (tmp_path / "detections.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detections.json", "images.json"]

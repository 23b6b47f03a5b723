"""``evaluation.npz``: comes back as it was written, and a file that is damaged or was tampered with is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from detection.errors import InputError
from detection.evaluation.class_boxes import pack_split
from detection.evaluation.judged_file import JUDGED_FILE, JudgedSplit, read_judged, write_judged
from tests.evaluation.splits import make_record, make_split, random_split


def judged_of(seed: int = 4, *, root: Path = Path("data")) -> JudgedSplit:
    data, detections = random_split(seed)
    data = replace(data, root=root)
    thresholds = np.linspace(0.2, 0.6, len(data.class_names))
    split = pack_split(data, detections)
    return JudgedSplit.of(
        data, split, score_thresholds=thresholds, max_detections=100, context={"model": "ä <b>", "split": "test"}
    )


def assert_same(some: JudgedSplit, other: JudgedSplit) -> None:
    for record, again in ((some, other), (some.split, other.split)):
        for name, value in vars(record).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(again, name), err_msg=name)
                assert value.dtype == getattr(again, name).dtype, name
            elif name != "split":
                assert value == getattr(again, name), name


@pytest.mark.parametrize("seed", [0, 4])
def test_it_comes_back_as_it_was(seed: int, tmp_path: Path) -> None:
    judged = judged_of(seed)
    write_judged(tmp_path, judged)
    assert_same(read_judged(tmp_path), judged)
    assert_same(read_judged(tmp_path / JUDGED_FILE), judged)


def test_a_file_from_before_there_were_blacklists(tmp_path: Path) -> None:
    write_judged(tmp_path, judged_of())

    def without(arrays: dict[str, Any]) -> None:
        document = json.loads(arrays["document"].tobytes())
        del document["unjudged"]
        arrays["document"] = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)

    change_file(tmp_path / JUDGED_FILE, without)
    assert read_judged(tmp_path).split.unjudged.shape == (0, 2)


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_judged(tmp_path / name, judged_of())
    assert (tmp_path / "a" / JUDGED_FILE).read_bytes() == (tmp_path / "b" / JUDGED_FILE).read_bytes()


def test_a_split_without_anything(tmp_path: Path) -> None:
    data = make_split([], class_names=())
    judged = JudgedSplit.of(data, pack_split(data, {}), score_thresholds=np.zeros(0), max_detections=100, context={})
    write_judged(tmp_path, judged)
    assert_same(read_judged(tmp_path), judged)


@pytest.mark.parametrize("named", ["data/data.yaml", "data/annotations/instances_test.json", "data"])
def test_the_root_of_data_named_by_a_file_is_its_folder(tmp_path: Path, named: str) -> None:
    """So that reports of data that has moved still find the pictures, which may be links."""
    folder, elsewhere = tmp_path / "data", tmp_path / "store"
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    elsewhere.mkdir()
    for file in ("data.yaml", "annotations/instances_test.json"):
        (folder / file).touch()
    (elsewhere / "x.jpg").touch()
    (folder / "images/a.jpg").symlink_to(elsewhere / "x.jpg")
    data = replace(make_split([make_record(1, path=folder / "images/a.jpg")]), root=tmp_path / named)
    split = pack_split(data, {})
    judged = JudgedSplit.of(data, split, score_thresholds=np.zeros(2), max_detections=100, context={})
    assert (judged.root, judged.paths) == (folder, ("images/a.jpg",))


def test_paths_lie_below_the_root_where_they_can(tmp_path: Path) -> None:
    inside = make_record(1, path=tmp_path / "data" / "images" / "a.jpg")
    outside = make_record(2, path=tmp_path / "b.jpg")
    data = replace(make_split([inside, outside]), root=tmp_path / "data")
    split = pack_split(data, {})
    judged = JudgedSplit.of(data, split, score_thresholds=np.zeros(2), max_detections=100, context={})
    assert judged.paths == ("images/a.jpg", (tmp_path / "b.jpg").resolve().as_posix())
    assert judged.root / judged.paths[1] == (tmp_path / "b.jpg").resolve()


def test_the_digest_tells_data_apart_and_not_results() -> None:
    judged = judged_of()
    split = judged.split
    other_scores = replace(judged, split=replace(split, scores=split.scores / 2), score_thresholds=np.zeros(3))
    assert other_scores.digest() == judged.digest()
    moved = replace(split, gt_boxes=split.gt_boxes + np.array([0, 0, 0, 1]))
    ignored = replace(split, gt_ignore=~split.gt_ignore)
    renamed = replace(split, class_names=("other", *split.class_names[1:]))
    unjudged = replace(split, unjudged=split.unjudged[1:])
    assert len(split.unjudged)
    for changed in (moved, ignored, renamed, unjudged):
        assert replace(judged, split=changed).digest() != judged.digest()
    assert replace(judged, sizes_hw=judged.sizes_hw + 1).digest() != judged.digest()


def test_no_such_file(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"holds no evaluation\.npz; give a folder that `multibox evaluate"):
            read_judged(place)


def change_file(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrites the arrays of a file."""
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez_compressed(path, **arrays)


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.update({name: value(arrays[name])})


def in_document(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        text = json.dumps(json.loads(arrays["document"].tobytes()) | {key: value})
        arrays["document"] = np.frombuffer(text.encode(), dtype=np.uint8)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("scores"), "it has no scores"),
        (put("scores", lambda old: old.astype(np.float64)), "scores has type float64"),
        (put("scores", lambda old: old[:-1]), "different lengths"),
        (put("scores", lambda old: old[::-1]), "its scores do not fall"),
        (put("scores", lambda old: old * np.float32("nan")), "a number is not finite"),
        (put("labels", lambda old: old + 3), "a label belongs to no class"),
        (put("gt_labels", lambda old: old - 3), "a label belongs to no class"),
        (put("image", lambda old: old + 100), "a box belongs to no image"),
        (put("gt_image", lambda old: old[::-1]), "not in the order of the images"),
        (put("boxes", lambda old: np.asfortranarray(old)), "boxes has"),
        (put("image_ids", lambda old: old * 0), "an image id occurs twice"),
        (put("sizes_hw", lambda old: old * 0), "an image has no size"),
        (put("labels", lambda old: np.array([{}] * len(old), dtype=object)), "labels has type object"),
        (put("document", lambda old: old[:-5]), "not the file of an evaluation"),
        (in_document("version", 2), "version 2, expected 1"),
        (in_document("max_detections", 0), "max_detections is 0"),
        (in_document("class_names", ["a", "a", "b"]), "do not fit together"),
        (in_document("class_names", [1, 2, 3]), "class_names is no list of texts"),
        (in_document("file_names", "abc"), "file_names is no list of texts"),
        (in_document("unjudged", [[0, 3]]), "a class that is not judged belongs to no image or is none"),
        (in_document("unjudged", [[-1, 0]]), "a class that is not judged belongs to no image or is none"),
        (in_document("unjudged", [[0, 1.5]]), "a class that is not judged belongs to no image or is none"),
        (in_document("unjudged", [[0], [1, 2]]), "not the file of an evaluation"),
        (in_document("unjudged", [[2**70, 0]]), "a class that is not judged belongs to no image or is none"),
        (in_document("context", [1]), "not the file of an evaluation"),
    ],
)
def test_values_that_no_evaluation_has(change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path) -> None:
    write_judged(tmp_path, judged_of())
    change_file(tmp_path / JUDGED_FILE, change)
    with pytest.raises(InputError, match=message) as caught:
        read_judged(tmp_path)
    assert str(caught.value).endswith("run `multibox evaluate` again")


def test_a_file_cut_short(tmp_path: Path) -> None:
    write_judged(tmp_path, judged_of())
    path = tmp_path / JUDGED_FILE
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="not the file of an evaluation"):
            read_judged(tmp_path)


def test_a_header_that_announces_more_than_there_is(tmp_path: Path) -> None:
    write_judged(tmp_path, judged_of())
    path = tmp_path / JUDGED_FILE
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    huge = members["scores.npy"]
    start, stop = huge.index(b"("), huge.index(b",), }")
    text = b"(" + str(10**12).encode()
    members["scores.npy"] = huge[:start] + text + huge[stop:]
    # The header keeps its length: spaces at its end make up for the longer number.
    grown = len(members["scores.npy"]) - len(huge)
    end = members["scores.npy"].index(b"\n")
    members["scores.npy"] = members["scores.npy"][: end - grown] + members["scores.npy"][end:]
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="bytes, expected 4000000000000"):
        read_judged(tmp_path)


def test_a_file_that_unpacks_to_more_than_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_judged(tmp_path, judged_of())
    monkeypatch.setattr("detection.evaluation.judged_file._MAX_BYTES", 1000)
    with pytest.raises(InputError, match="bytes, expected 1000 at most"):
        read_judged(tmp_path)

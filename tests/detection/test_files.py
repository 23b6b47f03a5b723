"""Model files, training states and the journal: whole or not at all, and never code."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from backbone.weights import METADATA_KEY
from detection.build import load_detector
from detection.checkpoint import ModelHeader, load_header, load_model, load_state, save_model, save_state, save_tensors
from detection.data.source import list_source
from detection.errors import InputError
from detection.training_log import TrainingLog
from tests.builders import random_pixels, save_image
from tests.detection.tiny import CLASSES, tiny_config, tiny_network


def header() -> ModelHeader:
    return ModelHeader(
        config=tiny_config().model_dump(mode="json"),
        class_names=CLASSES,
        category_ids=(3, 11, 90),
        training={"steps": 7},
    )


def saved_model(folder: Path) -> Path:
    save_model(folder / "model.safetensors", tiny_network().state_dict(), header())
    return folder / "model.safetensors"


def test_model_round_trip(tmp_path: Path) -> None:
    network = tiny_network()
    save_model(tmp_path / "m.safetensors", network.state_dict(), header())
    tensors, found = load_model(tmp_path / "m.safetensors")
    assert found == load_header(tmp_path / "m.safetensors") == header()
    assert all(torch.equal(tensors[name], value) for name, value in network.state_dict().items())


def test_detector_comes_back_with_names_and_ids(tmp_path: Path) -> None:
    detector = load_detector(saved_model(tmp_path), device="cpu", precision="float32")
    assert detector.class_names == CLASSES
    assert detector.category_ids == (3, 11, 90)
    assert detector.longest_side == 96


class Bomb:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("boom",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or not a safetensors file"),
        (b"\xff" * 100, "damaged or not a safetensors file"),
        (pickle.dumps(Bomb()), "damaged or not a safetensors file"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_model(path)
    assert "boom" not in capsys.readouterr().out


def test_cut_model_file_is_refused(tmp_path: Path) -> None:
    path = saved_model(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_model(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.safetensors: no such file; give a model\.safetensors"):
        load_model(tmp_path / "m.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="expected a file of format 'multibox-rcnn model 1', got None"):
        load_model(tmp_path / "foreign.safetensors")
    save_state(tmp_path / "state.safetensors", {"x": torch.zeros(1)}, {"step": 1})
    with pytest.raises(InputError, match="got 'multibox-rcnn training state 1'") as caught:
        load_model(tmp_path / "state.safetensors")
    assert "damaged" not in str(caught.value)


def write_header(path: Path, text: str) -> Path:
    save_file({"x": torch.zeros(1)}, path, metadata={METADATA_KEY: text})
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected a file of format"),
        ("[" * 100_000, "damaged"),
        ('{"format": "multibox-rcnn model 1", "config": null, "class_names": [], "category_ids": []}', "no configur"),
        (
            '{"format": "multibox-rcnn model 1", "config": {}, "class_names": ["a"], "category_ids": []}',
            "1 classes and 0",
        ),
        ('{"format": "multibox-rcnn model 1", "config": {}, "class_names": "ab", "category_ids": [1, 2]}', "got 'ab'"),
        (
            '{"format": "multibox-rcnn model 1", "config": {}, "class_names": ["a"], "category_ids": ["1"]}',
            "list of ids",
        ),
        (
            '{"format": "multibox-rcnn model 1", "config": {}, "class_names": [], "category_ids": [], "training": []}',
            "no training",
        ),
    ],
)
def test_headers_of_strangers_are_answered_in_words(tmp_path: Path, text: str, message: str) -> None:
    path = write_header(tmp_path / "m.safetensors", text)
    with pytest.raises(InputError, match=message):
        load_header(path)
    with pytest.raises(InputError, match=message):
        load_detector(path)


def test_weights_and_header_must_fit(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", tiny_network(num_classes=5).state_dict(), header())
    with pytest.raises(InputError, match="weights and header do not fit together"):
        load_detector(tmp_path / "m.safetensors")


def test_state_round_trip(tmp_path: Path) -> None:
    save_state(tmp_path / "s.safetensors", {"a.b": torch.arange(3)}, {"step": 5, "seconds": None})
    tensors, found = load_state(tmp_path / "s.safetensors")
    assert torch.equal(tensors["a.b"], torch.arange(3))
    assert found == {"step": 5, "seconds": None}


def test_a_header_holds_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    save_state(tmp_path / "s.safetensors", {"a": torch.zeros(1)}, {"unreadable": {name: f"{name}: truncated"}})
    assert load_state(tmp_path / "s.safetensors")[1] == {"unreadable": {name: f"{name}: truncated"}}


def test_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("a/b.png", "a/.thumbnails/b.png", ".hidden/c.png", "a/.d.png"):
        save_image(tmp_path / name, random_pixels((4, 4)))
    assert [name for name, _ in list_source(tmp_path)] == ["a/b.png"]
    assert [name for name, _ in list_source(tmp_path / "**" / "*.png")] == ["a/b.png"]
    assert [name for name, _ in list_source(tmp_path / ".hidden")] == ["c.png"]  # named by the user


def test_source_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        list_source(tmp_path / "nothing")
    with pytest.raises(InputError, match="no images in this folder"):
        list_source(tmp_path)


def test_training_log_drops_steps_after_the_resumed_one(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in range(1, 5):
        log.write("train", step, {"loss": step / 10})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')  # killed while writing
    again = TrainingLog(tmp_path, done=2)
    again.write("train", 3, {"loss": 0.3})
    again.close()
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_a_full_disk_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"as before")
    monkeypatch.setattr("detection.checkpoint.save_file", full)
    with pytest.raises(InputError, match=r"cannot be written \(.*No space left.*\); make room"):
        save_tensors(path, {"a": torch.zeros(2)}, "some format", {})
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    assert path.read_bytes() == b"as before"

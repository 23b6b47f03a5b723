"""Detection over a folder: batches, unreadable files, and runs that are stopped and go on."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
import torch

from detection import folder
from detection.build import load_detector
from detection.data.remote import RemoteFile
from detection.data.source import list_source
from detection.device import Compute
from detection.errors import InputError
from detection.folder import BATCH, count_batch_lanes, count_pixels, detect_folder, detect_video
from detection.image_detector import ImageDetector
from detection.journal import Journal, JournalEntry
from detection.preprocess import Image
from detection.structures import Detections
from tests.builders import random_patches, random_pixels, save_image
from tests.data.test_video import write_film
from tests.detection.lively import detector_of, make_lively_network, save_lively_model

SETTINGS = {"model": "abc", "source": "photos"}


@pytest.fixture(params=[1, 3], ids=["in turn", "side by side"])
def lanes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    number: int = request.param
    monkeypatch.setattr(folder, "count_lanes", lambda device: number)
    return number


@pytest.mark.usefixtures("lanes")
def test_folder_detection_goes_on_and_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for index in range(3 * BATCH):
        save_image(photos / f"{index}.png", random_pixels((40, 50), index))
    (photos / "2b.jpg").write_bytes(b"not a jpeg")
    detector = load_detector(save_lively_model(tmp_path), device="cpu", precision="float32")
    images = list_source(photos)

    whole = Journal(tmp_path / "whole.jsonl", SETTINGS, resume=False)
    detect_folder(detector, images, whole)
    whole.close()

    class KillError(Exception):
        pass

    def kill_after_two(entry: JournalEntry) -> None:
        if entry.file_name == "5.png":
            raise KillError

    parts = Journal(tmp_path / "parts.jsonl", SETTINGS, resume=False)
    with pytest.raises(KillError):
        detect_folder(detector, images, parts, heard=kill_after_two)
    parts.close()
    parts = Journal(tmp_path / "parts.jsonl", SETTINGS, resume=True)
    detect_folder(detector, images, parts)
    parts.close()
    assert parts.path.read_bytes() == whole.path.read_bytes()
    errors = {entry.file_name: entry.error for entry in parts if entry.error}
    assert list(errors) == ["2b.jpg"]
    assert "not an image" in str(errors["2b.jpg"])


def test_a_mended_file_is_detected_when_the_run_goes_on(tmp_path: Path) -> None:
    images = [(f"{index}.png", tmp_path / f"{index}.png") for index in range(BATCH + 1)]
    for seed, (_, path) in enumerate(images):
        save_image(path, random_patches((96, 72), seed))
    good, bad = images[1][1].read_bytes(), b"not a png"
    images[1][1].write_bytes(bad)
    detector = detector_of(make_lively_network())
    entries = {}
    for sitting, content in enumerate((bad, bad, good)):
        images[1][1].write_bytes(content)
        journal = Journal(tmp_path / "journal.jsonl", SETTINGS, resume=sitting > 0)
        detect_folder(detector, images, journal)
        journal.close()
        entries = {entry.file_name: entry for entry in journal}
        assert len(list(journal)) == len(images)
        assert (entries["1.png"].error is None) == (content == good)
    found = entries["1.png"].detections
    assert found is not None
    assert len(found) > 10


def test_from_python_an_image_that_cannot_be_read_raises_or_is_heard_of(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        save_image(tmp_path / name, random_patches((96, 72)))
    (tmp_path / "b.png").write_bytes(b"no image")
    detector = detector_of(make_lively_network())
    heard: list[str] = []
    found = detector.detect(tmp_path, on_error=lambda path, error: heard.append(f"{path.name}: {error}"))
    assert [path.name for path, _ in found] == ["a.png", "c.png"]
    assert len(heard) == 1
    assert heard[0].startswith(f"b.png: {tmp_path / 'b.png'}: not an image")
    with pytest.raises(InputError, match="not an image"):
        list(detector.detect(tmp_path))


def test_batches_do_not_depend_on_where_a_run_was_stopped(tmp_path: Path, lanes: int) -> None:
    images = [
        (f"{index}.png", save_image(tmp_path / "photos" / f"{index}.png", random_pixels((40, 50), index)))
        for index in range(2 * BATCH + 1)
    ]
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), (40, 50))
    journal = Journal(tmp_path / "journal.jsonl", SETTINGS, resume=False)
    for name, _ in images[: BATCH + 2]:
        journal.append(JournalEntry(name, nothing))
    journal.close()
    asked: list[int] = []

    class Recorder:
        device = torch.device("cpu")

        def detect_images(self, images: Sequence[Image]) -> list[Detections]:
            asked.append(len(images))
            return [nothing] * len(images)

    journal = Journal(tmp_path / "journal.jsonl", SETTINGS, resume=True)
    detect_folder(cast("ImageDetector", Recorder()), images, journal)
    journal.close()
    # The second batch whole, though two of its images were done.
    assert (asked if lanes == 1 else sorted(asked, reverse=True)) == [BATCH, 1]
    assert [entry.file_name for entry in journal] == [name for name, _ in images]


@pytest.mark.usefixtures("lanes")
def test_frames_of_a_video_share_batches_wherever_a_run_was_stopped(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", 2 * BATCH + 2)
    detector = detector_of(make_lively_network())

    class Recorder:
        device = torch.device("cpu")

        def detect_images(self, images: Sequence[Image]) -> list[Detections]:
            asked.append(len(images))
            return detector.detect_images(images)

    recorder, asked = cast("ImageDetector", Recorder()), list[int]()
    whole = Journal(tmp_path / "whole.jsonl", SETTINGS, resume=False)
    detect_video(recorder, film, whole)
    whole.close()
    assert sorted(asked) == [2, BATCH, BATCH]
    entries = list(whole)
    assert [entry.file_name for entry in entries] == [f"film.avi/{number:06d}" for number in range(2 * BATCH + 2)]

    parts = Journal(tmp_path / "parts.jsonl", SETTINGS, resume=False)
    for entry in entries[: BATCH + 1]:
        parts.append(entry)
    parts.close()
    asked.clear()
    heard: list[str] = []
    parts = Journal(tmp_path / "parts.jsonl", SETTINGS, resume=True)
    detect_video(recorder, film, parts, heard=lambda entry: heard.append(entry.file_name))
    parts.close()
    assert sorted(asked) == [2, BATCH]  # the second batch whole, though one of its frames was done
    assert heard == [entry.file_name for entry in entries[BATCH + 1 :]]
    assert parts.path.read_bytes() == whole.path.read_bytes()

    asked.clear()
    parts = Journal(tmp_path / "parts.jsonl", SETTINGS, resume=True)
    detect_video(recorder, film, parts)
    parts.close()
    assert not asked  # all is done


def test_pixels_are_counted_by_headers(tmp_path: Path) -> None:
    images = [save_image(tmp_path / f"{side}.png", random_pixels((side, 30))) for side in (10, 20)]
    (tmp_path / "text.png").write_bytes(b"no image")
    assert count_pixels([*images, tmp_path / "text.png", RemoteFile("s3://bucket", "a.png")]) == 30 * 30


@pytest.mark.parametrize(("pixels_of_lane", "together"), [(BATCH * 900, 3), (BATCH * 300 - 1, 1)])
def test_large_batches_wait_for_room(
    pixels_of_lane: int, together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "count_lanes", lambda device: 3)
    monkeypatch.setattr(folder, "PIXELS_OF_LANE", pixels_of_lane)
    images = [(f"{n}.png", save_image(tmp_path / f"{n}.png", random_pixels((30, 30), n))) for n in range(3 * BATCH)]
    meeting = threading.Barrier(together)
    inside = threading.Semaphore(together)

    class Stub:
        device = torch.device("cpu")

        def detect_images(self, pictures: Sequence[Image]) -> list[Detections]:
            assert inside.acquire(blocking=False)
            meeting.wait(timeout=20)
            time.sleep(0.01)
            inside.release()
            return [Detections.empty(picture.shape[:2]) for picture in pictures]

    journal = Journal(tmp_path / "journal.jsonl", SETTINGS, resume=False)
    detect_folder(cast("ImageDetector", Stub()), images, journal)
    journal.close()
    assert len(journal.done) == len(images)


def test_what_waits_for_room_is_not_begun_when_a_run_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "count_lanes", lambda device: 4)
    monkeypatch.setattr(folder, "PIXELS_OF_LANE", 1)  # one batch at a time
    images = [(f"{n}.png", save_image(tmp_path / f"{n}.png", random_pixels((30, 30), n))) for n in range(4 * BATCH)]
    asked: list[int] = []
    first_is_inside = threading.Event()

    def pixels(places: Sequence[Path]) -> int:
        assert places[0].name == "0.png" or first_is_inside.wait(20)
        return 900

    class Stub:
        device = torch.device("cpu")

        def detect_images(self, pictures: Sequence[Image]) -> list[Detections]:
            asked.append(len(pictures))
            first_is_inside.set()
            time.sleep(0.3)  # the others come to the door
            raise ArithmeticError

    monkeypatch.setattr(folder, "count_pixels", pixels)
    with pytest.raises(ArithmeticError):
        detect_folder(cast("ImageDetector", Stub()), images, Journal(tmp_path / "j.jsonl", SETTINGS, resume=False))
    assert len(asked) <= 2  # the next one went in as the first came out, two more stood at the door


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_an_image_that_does_not_fit_the_memory_ends_nothing(tmp_path: Path, error: Exception) -> None:
    """Its batch is looked at again one by one; the others are done, and this one is told with its size."""
    sizes = [(30, 30), (90, 120), (31, 30), (32, 30), (33, 30)]
    images = [(f"{n}.png", save_image(tmp_path / f"{n}.png", random_pixels(hw, n))) for n, hw in enumerate(sizes)]

    class Stub:
        device = torch.device("cpu")

        def detect_images(self, pictures: Sequence[Image]) -> list[Detections]:
            if any(picture.shape[0] == 90 for picture in pictures):
                raise error
            return [Detections.empty((picture.shape[0], picture.shape[1])) for picture in pictures]

    journal = Journal(tmp_path / "journal.jsonl", SETTINGS, resume=False)
    detect_folder(cast("ImageDetector", Stub()), images, journal)
    entries = list(journal)
    assert [entry.file_name for entry in entries] == [name for name, _ in images]
    assert [entry.error is None for entry in entries] == [True, False, True, True, True]
    assert entries[1].error == "120x90 pixels do not fit the memory; make it smaller, or free some"
    done = [entry.detections.image_size_hw for entry in entries if entry.detections is not None]
    assert done == [hw for hw in sizes if hw[0] != 90]


def test_what_a_batch_had_taken_is_free_when_its_images_are_tried_one_by_one(tmp_path: Path) -> None:
    class Activations:
        """Of a batch."""

    taken: list[weakref.ref[Activations]] = []

    class Stub:
        device = torch.device("cpu")

        def detect_images(self, pictures: Sequence[Image]) -> list[Detections]:
            assert not any(each() for each in taken)
            activations = Activations()
            taken.append(weakref.ref(activations))
            if len(pictures) > 1:
                raise MemoryError
            return [Detections.empty((picture.shape[0], picture.shape[1])) for picture in pictures]

    images = [(f"{n}.png", save_image(tmp_path / f"{n}.png", random_pixels((30, 30), n))) for n in range(3)]
    journal = Journal(tmp_path / "j.jsonl", SETTINGS, resume=False)
    detect_folder(cast("ImageDetector", Stub()), images, journal)
    assert len(taken) == 4
    assert [entry.error for entry in journal] == [None] * 3


def test_a_fault_of_ours_is_no_want_of_memory(tmp_path: Path) -> None:
    class Stub:
        device = torch.device("cpu")

        def detect_images(self, pictures: Sequence[Image]) -> list[Detections]:
            raise RuntimeError("shapes do not match")

    images = [("a.png", save_image(tmp_path / "a.png", random_pixels((30, 30))))]
    with pytest.raises(RuntimeError, match="shapes"):
        detect_folder(cast("ImageDetector", Stub()), images, Journal(tmp_path / "j.jsonl", SETTINGS, resume=False))


def test_a_detector_that_loses_an_image_is_told(tmp_path: Path) -> None:
    images = [(f"{n}.png", save_image(tmp_path / f"{n}.png", random_pixels((30, 30), n))) for n in range(2)]

    class Stub:
        device = torch.device("cpu")

        def detect_images(self, pictures: Sequence[Image]) -> list[Detections]:
            return [Detections.empty(picture.shape[:2]) for picture in pictures[1:]]

    journal = Journal(tmp_path / "journal.jsonl", SETTINGS, resume=False)
    with pytest.raises(ValueError, match="zip"):
        detect_folder(cast("ImageDetector", Stub()), images, journal)


def test_a_short_folder_has_no_more_lanes_than_batches() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        counted = {images: count_batch_lanes(images) for images in (0, 1, BATCH, BATCH + 1, 3 * BATCH, 100)}
        assert counted == {0: 1, 1: 1, BATCH: 1, BATCH + 1: 2, 3 * BATCH: 3, 100: 4}
        assert count_batch_lanes(100, torch.device("cuda")) == 1
    finally:
        torch.set_num_threads(before)


def test_a_run_of_several_cores_a_lane_goes_on_as_an_uninterrupted_one(tmp_path: Path) -> None:
    images = [(f"{n}.png", save_image(tmp_path / f"{n}.png", random_patches((96, 72), n))) for n in range(3 * BATCH)]
    detector = detector_of(make_lively_network(), Compute(torch.device("cpu"), torch.bfloat16))
    detector.prepare()
    before = torch.get_num_threads()
    torch.set_num_threads(6)  # three lanes of two, also for the batches that are left
    shares: list[int] = []

    class Recorder:
        device = torch.device("cpu")

        def detect_images(self, pictures: Sequence[Image]) -> list[Detections]:
            shares.append(torch.get_num_threads())
            return detector.detect_images(pictures)

    try:
        detector.detect_images([random_patches((96, 72))] * BATCH)  # weights packed for six cores
        journals = [Journal(tmp_path / f"{name}.jsonl", SETTINGS, resume=False) for name in ("whole", "parts")]
        for journal, there in zip(journals, (0, BATCH + 1), strict=True):
            for entry in list(journals[0])[:there]:
                journal.append(entry)
            detect_folder(cast("ImageDetector", Recorder()), images, journal)
            journal.close()
    finally:
        torch.set_num_threads(before)
    assert shares == [2] * 5
    assert journals[0].path.read_bytes() == journals[1].path.read_bytes()
    assert all(entry.detections is not None and len(entry.detections) > 10 for entry in journals[0])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_image_gets_the_same_answer_alone_and_in_a_batch(precision: torch.dtype) -> None:
    detector = detector_of(make_lively_network(), Compute(torch.device("cpu"), precision))
    detector.prepare()
    images = [random_patches((96, 72), seed) for seed in range(BATCH)]
    for image, together in zip(images, detector.detect_images(images), strict=True):
        (alone,) = detector.detect_images([image])
        assert len(alone) > 10
        assert torch.equal(together.boxes, alone.boxes)
        assert torch.equal(together.scores, alone.scores)

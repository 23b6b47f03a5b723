"""``multibox detect`` on patterns, lists and videos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from detection import folder
from detection.data.remote import Location
from detection.errors import InputError
from detection.folder import detect_folder
from detection.image_detector import ImageDetector
from detection.journal import Journal, JournalEntry
from detection.preprocess import Image
from detection.structures import Detections
from tests.builders import random_pixels, save_image
from tests.data.test_video import cut_film, write_film
from tests.detection.tiny import save_tiny_model
from tests.tools.running import run_command
from tools.detect import detect


def run(*arguments: object) -> int:
    return run_command(detect, *arguments, "--device", "cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "a.safetensors", lowest_score=0.0)


def faults(out: Path) -> list[dict[str, str]]:
    return json.loads((out / "errors.json").read_text(encoding="utf-8"))


def listed(out: Path) -> list[str]:
    return [image["file_name"] for image in json.loads((out / "images.json").read_text(encoding="utf-8"))["images"]]


def test_video_frames_go_through_the_journal(model: Path, tmp_path: Path) -> None:
    film, whole, parts = write_film(tmp_path / "film.avi", 4), tmp_path / "whole", tmp_path / "parts"
    assert run(model, film, "--out", whole, "--images", "--formats", "coco,yolo", "--threshold", 0) == 0
    assert listed(whole) == [f"film.avi/{number:06d}" for number in range(4)]
    assert len(list((whole / "images/film.avi").glob("*.jpg"))) == 4
    assert (whole / "yolo/film.avi/000003.txt").is_file()

    assert run(model, film, "--out", parts) == 0
    lines = (parts / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (parts / "journal.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])  # a kill in the third frame
    assert run(model, film, "--out", parts, "--resume") == 0
    for name in ("detections.json", "images.json", "errors.json", "journal.jsonl"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_a_frame_done_again_keeps_its_picture(model: Path, tmp_path: Path) -> None:
    film, whole, parts = write_film(tmp_path / "film.avi", 4), tmp_path / "whole", tmp_path / "parts"
    assert run(model, film, "--out", whole, "--images", "--threshold", 0) == 0
    assert run(model, film, "--out", parts) == 0
    lines = (parts / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (parts / "journal.jsonl").write_bytes(b"".join([*lines[:2], b"damaged\n", *lines[3:]]))
    assert run(model, film, "--out", parts, "--images", "--threshold", 0, "--resume") == 0
    assert sorted(listed(parts)) == listed(whole)
    assert listed(parts)[-1] == "film.avi/000001"
    for number in range(4):
        name = f"images/film.avi/{number:06d}.jpg"
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_a_frame_that_cannot_be_looked_at_is_told_and_moves_no_other(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, whole, out = write_film(tmp_path / "film.avi", 4), tmp_path / "whole", tmp_path / "out"
    assert run(model, film, "--out", whole, "--images", "--threshold", 0) == 0
    answer = folder._answer

    def without_the_third(detector: ImageDetector, batch: folder.Batch) -> list[JournalEntry]:
        return [
            JournalEntry(each.file_name, None, "none") if each.file_name.endswith("2") else each
            for each in answer(detector, batch)
        ]

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_answer", without_the_third)
        assert run(model, film, "--out", out, "--images", "--threshold", 0) == 1
    assert faults(out) == [{"file_name": "film.avi/000002", "error": "none"}]
    pictures = sorted((out / "images/film.avi").glob("*.jpg"))
    assert [path.stem for path in pictures] == ["000000", "000001", "000003"]
    assert all(path.read_bytes() == (whole / "images/film.avi" / path.name).read_bytes() for path in pictures)
    assert run(model, film, "--out", out, "--images", "--threshold", 0, "--resume") == 0  # and is tried again
    assert faults(out) == []


def test_a_refused_start_leaves_the_folder_free(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film, out = write_film(tmp_path / "film.avi", 2), tmp_path / "out"
    assert run(model, film, "--out", out, "--ray", "local") == 2
    assert "is a video, which one process reads; leave it out" in capsys.readouterr().err
    assert run(model, film, "--out", out) == 0
    assert run(model, film, "--out", out, "--ray", "local", "--resume") == 2  # what was found before stays
    assert len(listed(out)) == 2


def test_an_interrupted_start_leaves_the_folder_free(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, out = save_image(tmp_path / "a.png", random_pixels((40, 50))), tmp_path / "out"

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tools.image_source.detect_folder", interrupt)
        assert run(model, picture, "--out", out) != 0
    assert run(model, picture, "--out", out) == 0


def test_an_interrupted_run_says_how_to_go_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        save_image(tmp_path / f"photos/{number}.png", random_pixels((40, 50), number))
    photos, out = tmp_path / "photos", tmp_path / "out"

    def look_at_two(detector: ImageDetector, images: Iterable[tuple[str, Location]], *rest: Any, **more: Any) -> None:
        detect_folder(detector, list(images)[:2], *rest, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tools.image_source.detect_folder", look_at_two)
        assert run(model, photos, "--out", out) == 75
    assert "stopped: 2 of 3 done; the same command with --resume goes on" in capsys.readouterr().out
    assert run(model, photos, "--out", out, "--resume") == 0
    assert listed(out) == ["0.png", "1.png", "2.png"]


def test_the_folder_is_taken_until_the_last_picture_is_drawn(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, out = save_image(tmp_path / "a.png", random_pixels((40, 50))), tmp_path / "out"
    refused = []

    def draw(image: Image, found: Detections, *, class_names: Sequence[str]) -> Image:
        with pytest.raises(InputError, match="another process is detecting into this folder"):
            Journal(out / "journal.jsonl", {}, resume=True)
        refused.append(image.shape)
        return image

    monkeypatch.setattr("tools.detect.draw_detections", draw)
    assert run(model, picture, "--out", out, "--images") == 0
    assert refused == [(40, 50, 3)]


def test_an_image_that_has_changed_since_is_not_drawn_on(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = save_image(tmp_path / "a.png", random_pixels((40, 50))), tmp_path / "out"
    assert run(model, picture, "--out", out) == 0
    save_image(picture, random_pixels((50, 40)))
    assert run(model, picture, "--out", out, "--resume", "--images") == 1
    assert "not drawn: a.png: has another size than when it was looked at" in capsys.readouterr().out


def test_video_that_breaks_off(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film, out = cut_film(monkeypatch, tmp_path / "film.avi", 6, 4), tmp_path / "out"
    fault = f"{film}: frames 4 to 5 could not be decoded; repair it, or save it as mp4 or its frames as images"

    for again in ([], ["--resume"]):
        assert run(model, film, "--out", out, "--images", "--threshold", 0, *again) == 1
        assert faults(out) == [{"file_name": "film.avi", "error": fault}]
        assert listed(out) == [f"film.avi/{number:06d}" for number in range(4)]
    assert len(list((out / "images/film.avi").glob("*.jpg"))) == 4


def test_video_that_counts_one_frame_too_many(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(model, cut_film(monkeypatch, tmp_path / "film.avi", 3, 2), "--out", tmp_path / "out") == 0
    assert faults(tmp_path / "out") == []


def test_video_of_which_nothing_can_be_decoded(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, cut_film(monkeypatch, tmp_path / "film.avi", 3, 0), "--out", tmp_path / "out") == 2
    assert "none of its frames can be decoded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pictures_that_cannot_be_drawn_are_told_and_end_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name, width in (("a.png", 40), ("b.png", 40), ("wide.png", 65_501)):
        save_image(photos / name, random_pixels((2, width)))
    assert run(model, photos, "--out", out) == 0
    (photos / "a.png").write_bytes(b"x")

    assert run(model, photos, "--out", out, "--images", "--resume") == 1

    told = capsys.readouterr().out
    assert f"not drawn: a.png: {photos / 'a.png'}: not an image" in told
    assert "not drawn: wide.png: 65501x2 pixels, a JPEG has at most 65,500 a side" in told
    assert [path.name for path in (out / "images").iterdir()] == ["b.jpg"]


@pytest.mark.parametrize("source", ["photos", "photos/**/*.jpg", "photos/images", "list.txt"])
def test_pictures_never_lie_among_the_images(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    image = save_image(tmp_path / "photos/images/a.jpg", random_pixels((30, 40)))
    (tmp_path / "list.txt").write_text("photos/images/a.jpg", encoding="utf-8")
    before = image.read_bytes()

    assert run(model, tmp_path / source, "--out", tmp_path / "photos", "--images") == 2

    assert "would lie among the images of" in capsys.readouterr().err
    assert [path for path in (tmp_path / "photos").rglob("*") if path.is_file()] == [image]
    assert image.read_bytes() == before


def test_links_lead_no_picture_over_an_image(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = save_image(tmp_path / "photos/a.jpg", random_pixels((30, 40)))
    kept, before = tmp_path / "kept.jpg", image.read_bytes()
    kept.write_bytes(b"precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / "images").symlink_to(tmp_path / "photos")
    assert run(model, tmp_path / "photos", "--out", out, "--images") == 2
    assert "would lie among the images of" in capsys.readouterr().err
    (out / "images").unlink()
    (out / "images").mkdir()
    (out / "images/a.jpg").symlink_to(kept)
    assert run(model, tmp_path / "photos", "--out", out, "--images") == 0
    assert not (out / "images/a.jpg").is_symlink()
    save_image(tmp_path / "photos/day/a.jpg", random_pixels((30, 40), seed=2))
    (out / "images/day").symlink_to(tmp_path / "photos/day")
    deep = (tmp_path / "photos/day/a.jpg").read_bytes()
    assert run(model, tmp_path / "photos", "--out", out, "--images", "--resume") == 1
    assert (
        f"not drawn: day/a.jpg: {out / 'images/day'} lies behind a link that leads elsewhere" in capsys.readouterr().out
    )
    assert (tmp_path / "photos/day/a.jpg").read_bytes() == deep
    assert kept.read_bytes() == b"precious"
    assert image.read_bytes() == before


def test_pattern_and_list(model: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "deep/c.png"):
        save_image(tmp_path / "photos" / name, random_pixels((30, 40), len(name)))
    assert run(model, tmp_path / "photos/**/*.png", "--out", tmp_path / "fitting") == 0
    assert listed(tmp_path / "fitting") == ["a.png", "b.png", "deep/c.png"]

    (tmp_path / "list.txt").write_text("photos/b.png\nphotos/gone.png\nphotos/a.png\n", encoding="utf-8")
    assert run(model, tmp_path / "list.txt", "--out", tmp_path / "listed", "--images", "--threshold", 0) == 1
    assert listed(tmp_path / "listed") == ["photos/b.png", "photos/a.png"]
    assert [error["file_name"] for error in faults(tmp_path / "listed")] == ["photos/gone.png"]
    assert (tmp_path / "listed/images/photos/a.jpg").is_file()


def test_a_file_that_was_taken_away_is_no_fault_any_more(model: Path, tmp_path: Path) -> None:
    out, photos = tmp_path / "out", tmp_path / "photos"
    save_image(photos / "a.jpg", random_pixels((30, 40)))
    for name in ("b.jpg", "c.HEIC"):
        (photos / name).write_bytes(b"no image")
    assert run(model, photos, "--out", out) == 1
    assert [fault["file_name"] for fault in faults(out)] == ["b.jpg", "c.HEIC"]
    (photos / "b.jpg").unlink()
    assert run(model, photos, "--out", out, "--resume") == 1
    assert [fault["file_name"] for fault in faults(out)] == ["c.HEIC"]
    (photos / "c.HEIC").unlink()
    assert run(model, photos, "--out", out, "--resume") == 0
    assert faults(out) == []
    assert listed(out) == ["a.jpg"]

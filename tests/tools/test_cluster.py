"""Detection on a Ray cluster of this machine, and from and to other storage: the results are those of a local run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from detection.cluster import MOST_SHARDS, SHARD_IMAGES, Shard, cut_shards, decode_shard, encode_shard
from detection.data.remote import RemoteFile, copy_out, is_uri, list_uri, make_remote_folder, read_location
from detection.errors import InputError
from tests.builders import random_pixels, save_image
from tests.detection.lively import save_lively_model
from tests.tools.running import run_main

needs_pyarrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray")

RESULTS = ("journal.jsonl", "detections.json", "images.json", "errors.json", "detections.csv")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds much, 90 photos, of which one is damaged and one has a name that is no UTF-8."""
    folder = tmp_path_factory.mktemp("cluster")
    save_lively_model(folder)
    for number in range(88):
        save_image(folder / f"photos/{number % 7}/{number:03}.png", random_pixels((60 + number % 5, 80), number))
    save_image(folder / "photos" / os.fsdecode(b"\xff.png"), random_pixels((50, 50)))
    (folder / "photos/3/damaged.png").write_bytes(b"no picture")
    return folder


def detect(work: Path, out: str, *options: object, source: object = "photos") -> subprocess.Popen[str]:
    """Starts the command in a process of its own, with one thread as the workers have."""
    arguments = ["detect", "model.safetensors", source, "--out", out, "--device", "cpu", "--formats", "csv", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "tools.main", *map(str, arguments)],
        cwd=work,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 1) -> str:
    """Waits for its end; 1 is said of runs with a damaged image."""
    text, _ = process.communicate(timeout=300)
    assert process.returncode == code, text
    return text


@pytest.fixture(scope="module")
def local(work: Path) -> Path:
    finish(detect(work, "local"))
    return work / "local"


def assert_same(out: Path, local: Path) -> None:
    for name in RESULTS:
        assert (out / name).read_bytes() == (local / name).read_bytes(), name


@needs_ray
@pytest.mark.slow
def test_the_cluster_answers_as_one_machine(work: Path, local: Path) -> None:
    text = finish(detect(work, "cluster", "--ray", "local"))
    assert "90 images in all, 1 errors" in text
    assert_same(work / "cluster", local)
    # One machine's journal goes on with a cluster, and the other way round.
    lines = (local / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for first, then in ((), ("--ray", "local")), (("--ray", "local"), ()):
        out = work / f"resumed{len(first)}"
        out.mkdir()
        (out / "journal.jsonl").write_bytes(b"".join(lines[:40]))
        finish(detect(work, out.name, "--resume", *then))
        assert_same(out, local)


def workers() -> list[int]:
    """Processes of Ray that hold a detector."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and b"MapWorker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
def test_a_killed_worker_loses_nothing(work: Path, local: Path) -> None:
    process = detect(work, "killed", "--ray", "local")
    journal = work / "killed/journal.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if workers() and journal.exists() and journal.read_bytes().count(b"\n") < 1 + 88:
            break
        time.sleep(0.01)
    victims = workers()
    assert victims, finish(process)
    os.kill(victims[0], signal.SIGKILL)
    finish(process)
    assert_same(work / "killed", local)


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_is_not_there(work: Path) -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "auto"):
        text = finish(detect(work, "nowhere", "--ray", address, "--resume"), code=2)
        assert f"--ray {address}: no such cluster" in text
        assert "Traceback" not in text


@needs_pyarrow
def test_from_and_to_other_storage(work: Path, tmp_path: Path) -> None:
    photos, there = work / "photos/3", tmp_path / "there"
    finish(detect(work, "path", source=photos))
    finish(detect(work, "uri", "--copy-to", there.as_uri(), source=photos.as_uri()))
    assert len(json.loads((there / "images.json").read_text())["images"]) == 13
    for name in ("detections.json", "images.json", "detections.csv"):
        assert (there / name).read_bytes() == (work / "path" / name).read_bytes()
    (error,) = json.loads((there / "errors.json").read_text())
    assert error["file_name"] == "damaged.png"


def test_uris() -> None:
    assert is_uri("s3://bucket/photos")
    assert is_uri("file:///photos")
    assert not is_uri("C://photos")
    assert not is_uri("photos/s3")


@needs_pyarrow
def test_faults_of_storage_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        list_uri(tmp_path.as_uri())
    with pytest.raises(InputError, match="cannot be listed"):
        list_uri((tmp_path / "absent").as_uri())
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(InputError, match="no UTF-8"):
        list_uri((tmp_path / "odd").as_uri())
    shutil.rmtree(tmp_path / "odd")
    with pytest.raises(InputError, match="cannot be opened"):
        list_uri("nothing://there")
    with pytest.raises(InputError, match=r"a\.png: cannot be fetched"):
        read_location(RemoteFile(tmp_path.as_uri(), "a.png"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        copy_out(tmp_path, (tmp_path / "file/below").as_uri())
    with pytest.raises(InputError, match="cannot be written"):
        make_remote_folder((tmp_path / "file/below").as_uri())
    (tmp_path / ".hidden").mkdir()
    save_image(tmp_path / ".hidden/a.png", random_pixels((4, 4)))
    save_image(tmp_path / "b/a.PNG", random_pixels((4, 4)))
    assert list_uri(tmp_path.as_uri()) == [("b/a.PNG", RemoteFile(tmp_path.as_uri(), "b/a.PNG"))]


def test_what_does_not_go_with_a_path(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, photos = work / "model.safetensors", work / "photos"
    assert run_main("detect", model, photos, "--out", tmp_path, "--copy-to", "found") == 2
    assert "--copy-to found: expected a URI" in capsys.readouterr().err
    assert run_main("detect", model, photos, "--out", tmp_path, "--ray", "local", "--device", "cuda:1") == 2
    assert "--device cuda:1: with --ray every worker has one of its own" in capsys.readouterr().err


def test_shards_hold_every_image_once() -> None:
    names = [os.fsdecode(b"\xff"), *(f"{number}.png" for number in range(3 * SHARD_IMAGES))]
    images: Shard = [(name, Path("photos", name)) for name in names]
    images.append(("far.png", RemoteFile("s3://bucket", "far.png")))
    shards = cut_shards(images)
    assert [len(shard) for shard in shards] == [SHARD_IMAGES] * 3 + [2]
    assert [image for shard in shards for image in decode_shard(encode_shard(shard))] == images
    assert cut_shards([]) == []
    assert len(cut_shards(images[:1] * (MOST_SHARDS * SHARD_IMAGES + 1))) <= MOST_SHARDS

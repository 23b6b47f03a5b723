"""A few kills of real processes; ``python -m tests.kills`` makes many more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from tests.builders import toy_images, write_voc
from tests.kills import kill_detections, kill_trainings
from tests.tools.tiny_run import TINY
from tools.cli import EXIT_STOPPED
from tools.run_folder import STATE_NAME


@pytest.mark.skipif(sys.platform == "win32", reason="has no groups of processes")
def test_a_signal_to_the_whole_group_saves_the_run(tmp_path: Path) -> None:
    data, out = write_voc(tmp_path / "data", {"train": toy_images(8)}), tmp_path / "run"
    options = [*TINY, "--set=backbone.weights=none", "--set=train.workers=2", "--epochs=100000"]
    arguments = [sys.executable, "-m", "tools.train", str(data), "--out", str(out), *options]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    log = out / "metrics.jsonl"
    for _ in range(600):
        if process.poll() is not None or (log.is_file() and log.read_bytes().count(b"\n") > 3):
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    told = process.communicate(timeout=60)[0].decode()
    assert process.returncode == EXIT_STOPPED, told
    assert "the same command with --resume goes on" in told
    assert (out / STATE_NAME).is_file()


_ORPHAN = r"""
import os, sys, time
from detection import workers
workers.GRACE_SECONDS, workers.MOST_GRACES = 1, int(sys.argv[1])
child = os.fork()
if not child:
    workers.start_worker(0)
os.write(1, f"{child or 'ready'}\n".encode())  # in one piece: print may write the end of the line by itself
if not child:
    time.sleep(600)
print("ended with", os.waitpid(child, 0)[1] >> 8)
"""


@contextmanager
def _orphan(graces: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A training with one reader, and the reader's process; a test that fails leaves neither."""
    command = [sys.executable, "-c", _ORPHAN, str(graces)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as main:
        try:
            assert main.stdout is not None
            reader, ready = sorted(main.stdout.readline().strip() for _ in range(2))
            assert ready == "ready"
            yield main, int(reader)
        finally:
            with suppress(ProcessLookupError):  # both have ended, as they should
                os.killpg(main.pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_a_reader_outlives_a_signal_as_long_as_its_training_does() -> None:
    with _orphan(graces=60) as (main, reader):
        os.kill(reader, signal.SIGTERM)
        time.sleep(2.2)  # twice its grace: it has looked, and the training is there
        os.kill(reader, 0)
        main.kill()
        assert main.communicate(timeout=30)[0] == ""  # ends when the reader, which has it open too, is gone


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_a_reader_obeys_in_the_end() -> None:
    with _orphan(graces=1) as (main, reader):
        os.kill(reader, signal.SIGTERM)
        assert main.communicate(timeout=30)[0] == f"ended with {128 + signal.SIGTERM}\n"


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    random = Random(1)
    trainings = kill_trainings(tmp_path, 3, random)
    assert trainings == (3, [])
    detections = kill_detections(tmp_path, tmp_path / "trainings/undisturbed/model.safetensors", 3, random)
    assert detections == (3, [])

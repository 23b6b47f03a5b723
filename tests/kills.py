"""Kills trainings and detections (SIGKILL) at random moments, goes on with them, and compares with undisturbed runs.

    python -m tests.kills            20 kills of each
    python -m tests.kills 100 7      100 kills of each, other moments

Prints what differs and ends with exit code 1 if anything does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from configs.load import dump_config
from tests.builders import random_pixels, save_image, toy_images, write_voc
from tests.detection.tiny import tiny_config

_POLL_SECONDS = 0.001
_LIFE_SECONDS = 120.0  # A command that shows no sign of life for so long hangs.
_ENDS_WITH = {"tools.train": 0, "tools.detect": 1}  # 1: one of its images cannot be read

Moment = Callable[[Path, Callable[[], bool]], None]
"""Waits for the moment of a kill: the output folder, and whether the command still runs."""


class Outcome(NamedTuple):
    """What became of a command under fire: kills that hit it, and what differs from the undisturbed run."""

    kills: int
    differences: list[str]


def kill_trainings(work: Path, kills: int, random: Random) -> Outcome:
    """Trainings with and without workers, killed at any moment and while they save.

    Args:
        work: Folder for data and runs.
        kills: How many; as many runs are made as it takes.
        random: Decides the moments.
    """
    data = write_voc(work / "toy", {"train": toy_images(5)})
    config = work / "tiny.yaml"
    config.write_text(dump_config(tiny_config(epochs=40, checkpoint_seconds=1)), encoding="utf-8")

    def command(out: Path) -> list[str]:
        workers = random.choice((0, 2))
        options = ["--config", str(config), "--set", f"train.workers={workers}"]
        return ["tools.train", str(data), "--out", str(out), *options]

    moments = (_soon(random), _while_writing("last"), _after_a_change("last/state.safetensors", random))
    return _under_fire(work / "trainings", command, _same_training, kills=kills, moments=moments, random=random)


def kill_detections(work: Path, model: Path, kills: int, random: Random) -> Outcome:
    """Detections over a folder, killed at any moment and while they write their results.

    Args:
        work: Folder for images and results.
        model: A model file.
        kills: How many; as many runs are made as it takes.
        random: Decides the moments.
    """
    images = work / "images"
    for number in range(60):
        size_hw = (random.randint(40, 200), random.randint(40, 200))
        save_image(images / f"{number // 10}/{number}.jpg", random_pixels(size_hw, seed=number))
    (images / "broken.jpg").write_bytes(b"no image")

    def command(out: Path) -> list[str]:
        return ["tools.detect", str(model), str(images), "--out", str(out), "--formats", "csv,yolo,voc", "--images"]

    moments = (_soon(random), _while_writing("."), _after_a_change("journal.jsonl", random))
    return _under_fire(work / "detections", command, _same_files, kills=kills, moments=moments, random=random)


def _under_fire(
    folder: Path,
    command: Callable[[Path], list[str]],
    compare: Callable[[Path, Path], Iterator[str]],
    *,
    kills: int,
    moments: tuple[Moment, ...],
    random: Random,
) -> Outcome:
    """Runs a command once undisturbed, then again and again under kills until there were enough of them."""
    undisturbed = folder / "undisturbed"
    _live(command(undisturbed), undisturbed, moment=None)
    done, runs, differences = 0, 0, list[str]()
    while done < kills:
        runs += 1
        out = folder / f"killed{runs}"
        hits = 0
        # At most half of the kills on one run, so that more than one is brought to its end.
        while done < kills and hits < max(1, kills // 2):
            arguments = command(out) + (["--resume"] if hits else [])
            if not _live(arguments, out, moment=random.choice(moments)):
                break
            hits, done = hits + 1, done + 1
        else:
            _live([*command(out), "--resume"], out, moment=None)
        differences += [f"run {runs}, {hits} kills: {line}" for line in compare(undisturbed, out)]
        differences += [f"run {runs}: left behind {draft}" for draft in out.rglob(".*.tmp")]
    return Outcome(done, differences)


def _live(arguments: list[str], out: Path, *, moment: Moment | None) -> bool:
    """Runs a command to its end or until the moment of its kill; returns whether it was killed.

    Raises:
        RuntimeError: If it ends by itself as it should not, or is killed by somebody else.
    """
    log = out.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its workers die with it
        )
        if moment is not None:
            moment(out, lambda: process.poll() is None)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait(timeout=_LIFE_SECONDS)
    if code == -signal.SIGKILL and moment is not None:
        return True
    if code != _ENDS_WITH[arguments[0]]:
        raise RuntimeError(f"{' '.join(arguments)} ended with {code}:\n{log.read_text(errors='replace')[-3000:]}")
    return False


def _soon(random: Random) -> Moment:
    """In the first seconds: importing, reading, building, first steps."""

    def wait(out: Path, alive: Callable[[], bool]) -> None:
        _wait(lambda: False, alive, seconds=random.uniform(0, 8))

    return wait


def _while_writing(folder: str) -> Moment:
    """As soon as a draft of a file lies in a folder."""

    def wait(out: Path, alive: Callable[[], bool]) -> None:
        before = set((out / folder).glob(".*.tmp"))
        _wait(lambda: bool(set((out / folder).glob(".*.tmp")) - before), alive)

    return wait


def _after_a_change(name: str, random: Random) -> Moment:
    """Up to a second after a file has changed, so that each life comes further than the one before."""

    def wait(out: Path, alive: Callable[[], bool]) -> None:
        def stamp() -> int:
            return (out / name).stat().st_mtime_ns if (out / name).exists() else 0

        before = stamp()
        _wait(lambda: stamp() != before, alive)
        _wait(lambda: False, alive, seconds=random.uniform(0, 1.2))

    return wait


def _wait(happened: Callable[[], bool], alive: Callable[[], bool], *, seconds: float = _LIFE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while alive() and not happened() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _same_training(one: Path, other: Path) -> Iterator[str]:
    """The weights bit for bit, and every line of the log but for the speed."""
    weights = [load_file(run / "model.safetensors") for run in (one, other)]  # its header tells the number of workers
    if weights[0].keys() != weights[1].keys() or not all(map(torch.equal, *(w.values() for w in weights))):
        yield "other weights"
    logs = [
        [{**json.loads(line), "images_per_second": 0} for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (one, other)
    ]
    if logs[0] != logs[1]:
        yield f"another log: {len(logs[0])} and {len(logs[1])} lines"


def _same_files(one: Path, other: Path) -> Iterator[str]:
    """Every file byte for byte."""
    files = [{path.relative_to(run): path for path in run.rglob("*") if path.is_file()} for run in (one, other)]
    for name in sorted(files[0].keys() | files[1].keys()):
        if name not in files[0] or name not in files[1]:
            yield f"{name} is in one only"
        elif files[0][name].read_bytes() != files[1][name].read_bytes():
            yield f"{name} differs"


def main() -> None:
    """Runs both and tells the differences."""
    kills, seed = map(int, [*sys.argv[1:], *("20", "0")[len(sys.argv) - 1 :]])
    with TemporaryDirectory(prefix="multibox-kills-") as folder:
        work, random = Path(folder), Random(seed)
        trainings = kill_trainings(work, kills, random)
        model = work / "trainings/undisturbed/model.safetensors"
        detections = kill_detections(work, model, kills, random)
    for name, outcome in (("training", trainings), ("detection", detections)):
        print(f"{name}: {outcome.kills} kills, {len(outcome.differences)} differences")
        print("".join(f"  {line}\n" for line in outcome.differences), end="")
    sys.exit(bool(trainings.differences or detections.differences))


if __name__ == "__main__":
    main()

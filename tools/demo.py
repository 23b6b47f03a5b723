"""``multibox demo``: the whole job on pictures that installed packages ship."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from detection.data.demo import build_demo_set
from detection.errors import InputError
from tools.cli import plain_console, run_alone
from tools.detect import detect
from tools.evaluate import evaluate
from tools.train import train

console = plain_console()

MARKER = ".multibox-demo"
"""Marks a folder that a demo made and the next one may clear."""

# Digits are not the same mirrored, the pictures are small, and small batches get more steps out of a few minutes.
SETTINGS = ["input.longest_side=320", "augment.horizontal_flip=0", "train.batch_size=4", "train.learning_rate=7e-4"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(min=0.1, help="How long to train.")] = 6.5,
) -> None:
    """Builds a small data set (handwritten digits on photographs), trains, detects, reports; needs no network.

    Example: multibox demo --out demo
    """
    started = time.monotonic()
    data, run, found, report = (out / name for name in ("data", "run", "found", "report"))
    _make_room(out)
    console.rule("1. data: digits on photographs, in VOC layout")
    build_demo_set(data)
    console.print(f"{data}")
    console.rule(f"2. multibox train {data} --out {run} --minutes {minutes:g}")
    train(data, run, minutes=minutes, set_=SETTINGS)
    model = run / "model.safetensors"
    console.rule(f"3. multibox evaluate {model} {data} --out {report}")
    evaluate(model, data, report)
    console.rule(f"4. multibox detect {model} {data / 'unlabelled'} --out {found} --images")
    detect([str(model), str(data / "unlabelled")], found, images=True)
    console.rule(f"done in {(time.monotonic() - started) / 60:.1f} minutes")
    console.print(f"Look at {report / 'report.html'} and at the pictures in {found / 'images'}.")


def _make_room(out: Path) -> None:
    """Clears what an earlier demo left in ``out``.

    Raises:
        InputError: If the folder holds something else.
    """
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        raise InputError(f"{out}: holds files that no demo made; give another folder with --out")
    for part in ("data", "run", "found", "report"):
        shutil.rmtree(out / part, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


if __name__ == "__main__":
    run_alone(demo)

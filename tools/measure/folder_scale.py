"""What the bookkeeping of a folder detection costs by the number of images: time, memory, bytes, without the network.

    python -m tools.measure.folder_scale                        10,000, 100,000 and 1,000,000 images
    python -m tools.measure.folder_scale --sizes 1000,10000

A journal is written as `multibox detect` writes it, opened again as `--resume` does, and made into the results.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from rich.console import Console

from detection.errors import InputError
from detection.journal import Journal, JournalEntry
from detection.memory import peak_gib
from detection.predictions import ImageDetections, write_coco
from detection.structures import Detections
from tools.cli import run_alone

console = Console(soft_wrap=True, markup=False, highlight=False)

SETTINGS = {"model": "generated", "source": "generated"}
NAMES = ("first", "second", "third")


def folder_scale(
    sizes: Annotated[str, typer.Option(help="Numbers of images, by commas.")] = "10000,100000,1000000",
    detections: Annotated[int, typer.Option(min=0, help="Detections of an image.")] = 4,
) -> None:
    """Times what a folder detection does besides detecting, each size in a process of its own.

    Example: python -m tools.measure.folder_scale --sizes 1000,10000
    """
    counts = [part.strip() for part in sizes.split(",")]
    if not all(count.isdecimal() and int(count) for count in counts):
        raise InputError(f"--sizes {sizes}: expected numbers of images, such as 10000,100000")
    if len(counts) == 1:
        _measure(int(counts[0]), detections)
        return
    for count in counts:  # the peak of memory is that of a process
        subprocess.run(
            [sys.executable, "-m", "tools.measure.folder_scale", "--sizes", count, "--detections", str(detections)],
            check=True,
        )


def _measure(count: int, detections: int) -> None:
    before = peak_gib(torch.device("cpu")) or 0.0
    found = _one_answer(detections)
    with TemporaryDirectory(prefix="multibox-") as folder:
        out = Path(folder)
        seconds = [time.perf_counter()]
        journal = Journal(out / "journal.jsonl", SETTINGS, resume=False)
        for number in range(count):
            journal.append(JournalEntry(f"{number // 1000:06}/{number:09}.jpg", found))
        journal.close()
        seconds.append(time.perf_counter())
        journal = Journal(out / "journal.jsonl", SETTINGS, resume=True)
        journal.close()
        seconds.append(time.perf_counter())
        images = (ImageDetections(n, entry.file_name, found) for n, entry in enumerate(journal, start=1))
        write_coco(out, images, class_names=NAMES, category_ids=tuple(range(len(NAMES))))
        seconds.append(time.perf_counter())
        size = sum(file.stat().st_size for file in out.iterdir())
    names = ("journal", "opened again", "results")
    parts = [f"{name} {b - a:.1f} s" for name, a, b in zip(names, seconds, seconds[1:], strict=False)]
    grown = (peak_gib(torch.device("cpu")) or float("nan")) - before
    console.print(f"{count:,} images: {', '.join(parts)}; {size / count:.0f} bytes an image, {grown:.2f} GiB of memory")


def _one_answer(count: int) -> Detections:
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(count, 2, generator=generator) * 300
    boxes = torch.cat([start, start + torch.rand(count, 2, generator=generator) * 100], dim=1)
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    return Detections(boxes, scores, torch.arange(count) % len(NAMES), (480, 640))


if __name__ == "__main__":
    run_alone(folder_scale)

"""What the bookkeeping of a folder detection costs by the number of images: time, memory, bytes, without the network.

    python -m tools.measure.folder_scale                        10,000, 100,000 and 1,000,000 images
    python -m tools.measure.folder_scale --sizes 1000,10000

A journal is written as `multibox detect` writes it, opened again as `--resume` does, and made into the results.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from rich.console import Console

from detection.journal import Journal, JournalEntry
from detection.memory import peak_gib
from detection.predictions import ImageDetections, write_coco
from detection.structures import Detections
from tools.cli import run_alone
from tools.measure.growth import Cost, costs_by_size, parse_sizes, print_growth

console = Console(soft_wrap=True, markup=False, highlight=False)

SETTINGS = {"model": "generated", "source": "generated"}
NAMES = ("first", "second", "third")


def folder_scale(
    sizes: Annotated[str, typer.Option(help="Numbers of images, by commas.")] = "10000,100000,1000000",
    detections: Annotated[int, typer.Option(min=0, help="Detections of an image.")] = 4,
) -> None:
    """Times what a folder detection does besides detecting.

    Example: python -m tools.measure.folder_scale --sizes 1000,10000
    """
    costs = costs_by_size(partial(measure, detections=detections), parse_sizes(sizes))
    print_growth(console, costs, "images")


def measure(count: int, *, detections: int) -> Cost:
    """Writes, opens and reads a journal of so many images."""
    found = _one_answer(detections)
    with TemporaryDirectory(prefix="multibox-") as folder:
        out = Path(folder)
        times = [time.perf_counter()]
        journal = Journal(out / "journal.jsonl", SETTINGS, resume=False)
        for number in range(count):
            journal.append(JournalEntry(f"{number // 1000:06}/{number:09}.jpg", found))
        journal.close()
        times.append(time.perf_counter())
        journal = Journal(out / "journal.jsonl", SETTINGS, resume=True)
        journal.close()
        times.append(time.perf_counter())
        images = (ImageDetections(n, entry.file_name, found) for n, entry in enumerate(journal, start=1))
        write_coco(out, images, class_names=NAMES, category_ids=tuple(range(len(NAMES))))
        times.append(time.perf_counter())
    names = ("journal", "opened again", "results")
    seconds = {name: after - before for name, before, after in zip(names, times, times[1:], strict=False)}
    return Cost(count, seconds, peak_gib(torch.device("cpu")) or float("nan"))


def _one_answer(count: int) -> Detections:
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(count, 2, generator=generator) * 300
    boxes = torch.cat([start, start + torch.rand(count, 2, generator=generator) * 100], dim=1)
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    return Detections(boxes, scores, torch.arange(count) % len(NAMES), (480, 640))


if __name__ == "__main__":
    run_alone(folder_scale)

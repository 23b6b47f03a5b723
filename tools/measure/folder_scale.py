"""What the bookkeeping of a folder detection costs by the number of images: time, memory, bytes, without the network.

    python -m tools.measure.folder_scale                        10,000, 100,000 and 1,000,000 images
    python -m tools.measure.folder_scale --sizes 1000,10000 --ray

A journal is written as `multibox detect` writes it, opened again as `--resume` does, and made into the results. With
--ray the answers also come from a cluster of this machine, whose workers read one tiny image and think of nothing.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import cv2
import numpy as np
import torch
import typer

from detection.cluster import detect_on_cluster
from detection.journal import Journal, JournalEntry
from detection.memory import peak_gib
from detection.predictions import ImageDetections, write_coco
from tools.cli import plain_console, run_alone
from tools.measure.growth import Cost, in_new_process, parse_sizes, print_growth, timed
from tools.measure.thoughtless import NAMES, ThoughtlessDetector, one_answer

console = plain_console()

SETTINGS = {"model": "generated", "source": "generated"}


def folder_scale(
    sizes: Annotated[str, typer.Option(help="Numbers of images, by commas.")] = "10000,100000,1000000",
    detections: Annotated[int, typer.Option(min=0, help="Detections of an image.")] = 4,
    ray: Annotated[bool, typer.Option("--ray", help="Also through a Ray cluster of this machine.")] = False,
) -> None:
    """Times what a folder detection does besides detecting.

    Example: python -m tools.measure.folder_scale --sizes 1000,10000 --ray
    """
    measured = partial(measure, detections=detections, through_ray=ray)
    costs = [in_new_process(measured, size) for size in parse_sizes(sizes)]
    print_growth(console, costs, "images")


def measure(count: int, *, detections: int, through_ray: bool) -> Cost:
    """Writes, opens and reads a journal of so many images."""
    found = one_answer(detections)
    seconds: dict[str, float] = {}
    with TemporaryDirectory(prefix="multibox-") as folder:
        out = Path(folder)
        with timed(seconds, "journal"), closing(Journal(out / "journal.jsonl", SETTINGS, resume=False)) as journal:
            for number in range(count):
                journal.append(JournalEntry(f"{number // 1000:06}/{number:09}.jpg", found))
        with timed(seconds, "opened again"):
            Journal(out / "journal.jsonl", SETTINGS, resume=True).close()
        with timed(seconds, "results"):
            images = (ImageDetections(n, entry.file_name, found) for n, entry in enumerate(journal, start=1))
            write_coco(out, images, class_names=NAMES, category_ids=tuple(range(len(NAMES))))
        if through_ray:
            with timed(seconds, "through Ray"):
                _through_ray(out, count, detections)
    return Cost(count, seconds, peak_gib(torch.device("cpu")) or float("nan"))


def _through_ray(folder: Path, count: int, detections: int) -> None:
    picture = folder / "picture.png"
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    images = [(f"{number}.png", picture) for number in range(count)]
    with closing(Journal(folder / "cluster.jsonl", SETTINGS, resume=False)) as journal:
        make, ignore = partial(ThoughtlessDetector, detections), lambda entry: None
        detect_on_cluster(make, images, journal, address="local", device="cpu", heard=ignore)
        assert len(journal.done) == count


if __name__ == "__main__":
    run_alone(folder_scale)

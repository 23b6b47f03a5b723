"""Our selective search beside OpenCV's: recall with 2,000 boxes and seconds an image, one thread, image by image.

    python -m venv /tmp/contrib && /tmp/contrib/bin/pip install opencv-contrib-python-headless
    OMP_NUM_THREADS=1 python -m tools.measure.search_beside_opencv my-data /tmp/contrib/bin/python --mode fast

Both sides take the same picture in turn, so that a machine whose speed drifts is fair to both.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from rich.table import Table

from detection.data.image import read_image
from detection.evaluation.proposal_summary import ImageCover, cover_image, summarize_covers
from detection.evaluation.texts import number_text
from proposals.selective_search import FAST, QUALITY, selective_search
from proposals.structures import Proposals
from tools.cli import plain_console, run_alone
from tools.progress import counting
from tools.reading import evaluation_split, read_data
from tools.stopwatch import timed

console = plain_console()

MOST = 2000


def search_beside_opencv(
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    interpreter: Annotated[Path, typer.Argument(help="Python that has opencv-contrib-python.")],
    mode: Annotated[str, typer.Option(help="fast or quality.")] = "fast",
    split: Annotated[str | None, typer.Option(help="Part to measure on.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Most images.")] = 128,
) -> None:
    """Measures both on the same images.

    Example: python -m tools.measure.search_beside_opencv my-data /tmp/contrib/bin/python --mode fast
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = {"fast": FAST, "quality": QUALITY}[mode]
    part = read_data(console, data, split or evaluation_split(data))
    script = Path(__file__).with_name("opencv_selective_search.py")
    command = [str(interpreter), str(script), mode, str(settings.width)]
    ours: list[ImageCover] = []
    theirs: list[ImageCover] = []
    records = part.images[:images]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        counting(console, len(records), "searching") as advance,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        for record in records:
            image = read_image(record.path)
            found, seconds = timed(selective_search, image, settings)
            ours.append(cover_image(record, found.best(MOST), seconds=seconds))
            process.stdin.write(f"{record.path}\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            boxes = np.array(answer["xywh"], dtype=np.float32).reshape(-1, 4)[:MOST]
            boxes[:, 2:] += boxes[:, :2]
            theirs_found = Proposals(torch.from_numpy(boxes), torch.linspace(1, 0, len(boxes)), record.size_hw)
            theirs.append(cover_image(record, theirs_found, seconds=answer["seconds"]))
            advance()
        process.stdin.close()
    _show({"ours": ours, "OpenCV": theirs}, part.class_names)


def _show(covers: dict[str, list[ImageCover]], class_names: tuple[str, ...]) -> None:
    table = Table("", "boxes", "recall@2000, IoU 0.5", "recall@200", "AR@2000", "s an image, median", "sum, s")
    for name, each in covers.items():
        evaluation = summarize_covers(each, class_names)
        seconds = [cover.seconds for cover in each]
        table.add_row(
            name,
            f"{np.mean([cover.num_proposals for cover in each]):.0f}",
            number_text(evaluation.by_count[2000].recall_of(0.5)),
            number_text(evaluation.by_count[200].recall_of(0.5)),
            number_text(evaluation.by_count[2000].average_recall["all"]),
            f"{median(seconds):.2f}",
            f"{sum(seconds):.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    run_alone(search_beside_opencv)

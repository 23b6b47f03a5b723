"""``multibox classify``: top-1 and top-5 error of classifiers, by the number of models and of crops."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.table import Table

from detection.atomic import write_json
from detection.checkpoint import model_file
from detection.classification.classifier import Classifier, load_classifier
from detection.classification.crops import NUM_CROPS, scaled_sides
from detection.classification.listing import Part
from detection.classification.packed import PackedImages
from detection.classification.protocol import (
    MAX_MODELS,
    ProtocolCell,
    check_models,
    common_side,
    measure_errors,
    spread_evenly,
)
from detection.errors import InputError
from tools.cli import plain_console, run_alone
from tools.progress import counting
from tools.reading import pack_images, split_models

PARTS: dict[str, Part] = {"train": "train", "val": "val"}

console = plain_console()


def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... DATA", help=f"1 to {MAX_MODELS} models (files or folders of runs); last, the data set."
        ),
    ],
    crops: Annotated[int, typer.Option(help="Most crops an image: 1, 10 or 144.")] = NUM_CROPS[-1],
    split: Annotated[str, typer.Option(help="Part of the data: val or train.")] = "val",
    side: Annotated[int | None, typer.Option(min=32, help="Side of the crops. [default: the models' own]")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Classify only N images, evenly spread.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep the decoded images in this folder, for later calls.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
) -> None:
    """Measures classifiers as the GoogLeNet paper does (1409.4842, section 7): crops averaged, then models.

    Cost is the number of crops that are classified for one image; differences are to one model and one crop.

    Example: multibox classify runs/a runs/b tiny-imagenet-200.zip --crops 10 --json errors.json
    """
    given, data = split_models(paths, "give one model or more, then the data set: multibox classify MODEL... DATA")
    model_paths = [model_file(path) for path in given]
    if crops not in NUM_CROPS:
        raise InputError(f"--crops {crops}: choose from {', '.join(map(str, NUM_CROPS))}")
    if split not in PARTS:
        raise InputError(f"--split {split}: choose from {', '.join(PARTS)}")
    models = [load_classifier(path, device=device, precision=precision) for path in model_paths]
    check_models(models)
    for number, path in enumerate(model_paths, start=1):
        console.print(f"model {number}: {path}")
    side = side or common_side(models)
    with ExitStack() as stack:
        # On Windows a file that is still mapped cannot be taken away; the system does it later.
        temporary = TemporaryDirectory(prefix="multibox-", ignore_cleanup_errors=True)
        folder = cache or Path(stack.enter_context(temporary))
        # Large enough for every scale, also where fewer crops are asked for: a cell never depends on the others.
        images = pack_images(console, data, PARTS[split], folder, shorter_side=scaled_sides(side)[-1])
        indices = spread_evenly(len(images), limit)
        console.print(_images_text(data, split, len(indices), len(images)))
        cells = _measure(models, images, num_crops=crops, side=side, indices=indices)
        _show(cells)
        if json_path is not None:
            context = {
                "models": list(map(str, model_paths)),
                "data": str(data),
                "split": split,
                "side": side,
                "images": len(indices),
                "images_in_split": len(images),
                "images_left_out": len(images.unreadable),
            }
            _write_json(json_path, cells, context)


def _measure(
    models: list[Classifier], images: PackedImages, *, num_crops: int, side: int, indices: list[int]
) -> list[ProtocolCell]:
    with counting(console, len(indices), "classifying") as advance:
        return measure_errors(models, images, num_crops=num_crops, side=side, indices=indices, heard=advance)


def _images_text(data: Path, split: str, count: int, total: int) -> str:
    if count == total:
        return f"{data} {split}: {total} images"
    return f"{data} {split}: {count} of {total} images, evenly spread over the part (--limit)"


def _show(cells: list[ProtocolCell]) -> None:
    base, best = cells[0], cells[-1]
    table = Table("models", "crops", "cost", "top-1 error", "to base", "top-5 error", "to base")
    for cell in cells:
        table.add_row(
            str(cell.models), str(cell.crops), str(cell.cost),
            _percent(cell.top1_error), _difference(cell, cell.top1_error, base.top1_error),
            _percent(cell.top5_error), _difference(cell, cell.top5_error, base.top5_error),
        )  # fmt: skip
    console.print(table)
    console.print(
        f"top-1 error {_percent(best.top1_error)}, top-5 error {_percent(best.top5_error)} "
        f"({best.models} models, {best.crops} crops, {best.images} images)"
    )


def _percent(error: float | None) -> str:
    return "n/a" if error is None else f"{error:.2%}"


def _difference(cell: ProtocolCell, error: float | None, base: float | None) -> str:
    if error is None or base is None:
        return "n/a"
    return "base" if cell.cost == 1 else f"{error - base:+.2%}"


def _write_json(path: Path, cells: list[ProtocolCell], context: dict[str, object]) -> None:
    rows = [
        {
            "models": cell.models,
            "crops": cell.crops,
            "cost": cell.cost,
            "top1_error": cell.top1_error,
            "top5_error": cell.top5_error,
        }
        for cell in cells
    ]
    write_json(path, {**context, "cells": rows})
    console.print(f"numbers: {path}")


if __name__ == "__main__":
    run_alone(classify)

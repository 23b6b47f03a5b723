"""``multibox proposals``: how well proposals cover the objects, by their number and by the overlap asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from detection.atomic import make_folder
from detection.checkpoint import load_header
from detection.data.records import DetectionData, ImageRecord
from detection.errors import InputError
from detection.evaluation.proposal_report import write_proposal_report
from detection.evaluation.proposal_summary import (
    CoverNumbers,
    ImageCover,
    ProposalEvaluation,
    cover_image,
    summarize_covers,
)
from detection.evaluation.proposal_view import count_text
from detection.evaluation.texts import number_text
from tools.cli import plain_console, run_alone
from tools.progress import counting
from tools.proposal_sources import METHODS, ProposalSource, SourceOptions, open_source, proposals_of
from tools.reading import evaluation_split, flattering, read_data

console = plain_console()


def proposals(
    source: Annotated[str, typer.Argument(metavar="METHOD|MODEL", help="A method, or model.safetensors of a run.")],
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    out: Annotated[Path, typer.Option(help="Folder for proposals.html and proposals.json.")],
    split: Annotated[
        str | None, typer.Option(help="Part to measure on. [default: test, else val..., else the only one]")
    ] = None,
    max_proposals: Annotated[int, typer.Option("--max", min=1, help="Most proposals of an image.")] = 2000,
    superpixel_scale: Annotated[
        float | None, typer.Option(min=0.01, help="Size of selective search's superpixels. [default: 1, combined: 2]")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model whose 200 best boxes `combined` adds.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Measures proposals before any is classified: recall, AR, MABO, coverage, time, and what they miss.

    Methods: selective-search, selective-search-single, selective-search-quality, combined (with --model).

    Classes play no part in making proposals, so the data set may have classes that the model never learnt.

    Example: multibox proposals runs/first/model.safetensors my-data --split test --out proposals
    """
    split = split or evaluation_split(data)
    opened = open_source(source, SourceOptions(max_proposals, superpixel_scale, model, device))
    labelled = read_data(console, data, split)
    make_folder(out)
    covers, failures = _cover(opened, labelled)
    evaluation = summarize_covers(covers, labelled.class_names, failures=failures)
    used = Path(source) if source not in METHODS else model
    warnings = () if used is None else flattering(load_header(used), labelled)
    for line in warnings:
        console.print(f"note: {line}")
    context = {"source": source, "data": str(data), "split": split, **opened.settings, "time includes": opened.timed}
    if warnings:
        context["warnings"] = "; ".join(warnings)
    write_proposal_report(
        out,
        covers,
        evaluation,
        class_names=labelled.class_names,
        title=f"Proposals · {data.resolve().name} · {split}",
        context=context,
    )
    _show(evaluation, opened.timed)
    console.print(f"report: {out / 'proposals.html'}")


def _cover(source: ProposalSource, data: DetectionData) -> tuple[list[ImageCover], dict[str, str]]:
    """The images that could be read, and why the others could not."""
    failures: dict[str, str] = {}

    def failed(record: ImageRecord, error: InputError) -> None:
        failures[record.file_name] = str(error)

    covers = []
    with counting(console, len(data.images), "proposing") as advance:
        for record, found, seconds in proposals_of(source, data.images, failed=failed, heard=advance):
            priors = None if source.priors is None else source.priors(record.size_hw).double().numpy()
            covers.append(cover_image(record, found, seconds=seconds, priors=priors))
    return covers, failures


def _show(evaluation: ProposalEvaluation, timed: str) -> None:
    table = Table("first", "boxes", "R@0.5", "R@0.7", "AR", "ARs", "ARm", "ARl", "MABO")
    for count, numbers in evaluation.by_count.items():
        table.add_row(str(count), *_cells(numbers))
    table.add_row("all", *_cells(evaluation.with_all))
    if evaluation.priors is not None:
        table.add_row("priors", *_cells(evaluation.priors))
    console.print(table)
    boxes = evaluation.with_all.boxes_per_image
    console.print(
        f"coverage {number_text(evaluation.coverage)} of {evaluation.num_objects['all']} objects "
        f"with {count_text(boxes)} boxes an image (IoU 0.5; {evaluation.num_ignored} ignored objects left out)"
    )
    if evaluation.mean_seconds is not None and evaluation.median_seconds is not None:
        mean, median = 1000 * evaluation.mean_seconds, 1000 * evaluation.median_seconds
        console.print(f"time an image: median {median:.1f} ms, mean {mean:.1f} ms ({timed})")
    for failure in evaluation.failures.values():
        console.print(f"not read: {failure}")


def _cells(numbers: CoverNumbers) -> list[str]:
    recall = [numbers.recall_of(iou_threshold) for iou_threshold in (0.5, 0.7)]
    values = [*recall, *numbers.average_recall.values(), numbers.mabo]
    return [count_text(numbers.boxes_per_image), *map(number_text, values)]


if __name__ == "__main__":
    run_alone(proposals)

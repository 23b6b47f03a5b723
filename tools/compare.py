"""``multibox compare``: two reports on the same images, which is better, and how sure that is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from detection.errors import InputError
from detection.evaluation.compare_page import (
    MEASURE_NAMES,
    VERDICTS,
    better_text,
    write_comparison,
)
from detection.evaluation.comparison import Comparison, compare_results
from detection.evaluation.intervals import Difference
from detection.evaluation.judged_file import JudgedSplit, read_judged
from detection.evaluation.texts import estimate_text, signed_text
from tools.cli import plain_console, run_alone

_NUM_IMAGES_TOLD = 5

console = plain_console()


def compare(
    report_a: Annotated[Path, typer.Argument(metavar="REPORT_A", help="Folder that `multibox evaluate` wrote.")],
    report_b: Annotated[Path, typer.Argument(metavar="REPORT_B", help="Another, of the same data and split.")],
    out: Annotated[Path, typer.Option(help="Folder for compare.html and compare.json.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set, for the pictures, if it was moved since.")
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(min=100, help="How often the images are drawn anew. [default: 1000, large splits 300]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws: the same seed gives the same intervals.")] = 0,
) -> None:
    """Compares two reports: the difference of every AP with a 95 % interval, and the images that changed.

    Both are resampled together over the images, so what is hard for both does not blur the difference.

    Example: multibox compare reports/first reports/second --out compared
    """
    a, b = _read(report_a, data), _read(report_b, data)
    comparison = compare_results(a, b, num_resamples=resamples, seed=seed)
    write_comparison(out, comparison, names=(str(report_a), str(report_b)))
    for side, report, judged in (("A", report_a, a), ("B", report_b, b)):
        console.print(f"{side}: {report}")
        if (warnings := judged.context.get("warnings", "none")) != "none":
            console.print(f"   warnings: {warnings}")
    _show(comparison)
    console.print(f"report: {out / 'compare.html'}")


def _read(report: Path, data: Path | None) -> JudgedSplit:
    """Reads a report, and takes its images from ``data`` if that is given."""
    judged = read_judged(report)
    if data is None:
        return judged
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; give the folder of the data set with --data")
    return replace(judged, root=data)


def _show(comparison: Comparison) -> None:
    table = Table("", pad_edge=False)
    for head, width in (("A", 14), ("B", 14), ("A - B", 16), ("A wins", 6)):
        table.add_column(head, min_width=width)
    for name, each in comparison.measures.items():
        table.add_row(MEASURE_NAMES.get(name, name), *_cells(each))
    for name, row in comparison.per_class.items():
        table.add_row(f"AP of {name}", *_cells(row["AP"]))
    console.print(table)
    measured = comparison.measures["AP"]
    console.print(f"AP: {VERDICTS[measured.verdict]}; better in resamples: {better_text(measured)}")
    total, judged = comparison.total, comparison.a.judged
    console.print(
        f"at the best thresholds: {total.only_a} objects only A finds, {total.only_b} only B, {total.both} both, "
        f"{total.neither} neither; false detections: A {total.false_a}, B {total.false_b}"
    )
    console.print(f"{len(comparison.changes)} of {judged.split.num_images} images changed")
    for image, change in list(comparison.changes.items())[:_NUM_IMAGES_TOLD]:
        console.print(
            f"  {judged.file_names[image]}: only A finds {change.only_a}, only B {change.only_b}; "
            f"false: A {change.false_a}, B {change.false_b}"
        )


def _cells(difference: Difference) -> list[str]:
    numbers = [estimate_text(difference.a), estimate_text(difference.b), signed_text(difference.difference)]
    share = difference.a_better
    return [*numbers, "n/a" if share is None else f"{100 * share:.1f} %"]


if __name__ == "__main__":
    run_alone(compare)

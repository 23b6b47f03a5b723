"""The command ``multibox check``: audits a data set before anyone trains on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detection.data.audit import Audit, SplitSummary, audit_dataset
from detection.data.findings import summarize_findings
from tools.cli import run_alone

EXIT_FINDINGS = 1  # 2, the data set cannot be read, is the exit code of every InputError.
_EXAMPLES_PER_KIND = 3

console = Console(soft_wrap=True)


def check(
    data: Annotated[Path, typer.Argument(help="Data folder (VOC, COCO or YOLO), or a COCO json or YOLO yaml.")],
    split: Annotated[list[str] | None, typer.Option(help="Split to check; may be repeated. Default: all.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures and findings to this file.")] = None,
) -> None:
    """Audit a data set: every split is read, every image decoded, every box checked.

    Example: multibox check data/cards --json findings.json

    Exit code: 0 clean, 1 findings, 2 the data set cannot be read.
    """
    with console.status("reading labels") as status:
        audit = audit_dataset(data, split or (), on_image=lambda path: status.update(f"reading {escape(path.name)}"))
    print_audit(audit)
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(audit), indent=2, default=str), encoding="utf-8")
    if audit.findings:
        raise typer.Exit(EXIT_FINDINGS)


def print_audit(audit: Audit) -> None:
    """Prints the format, a table of the splits, the objects of each class and the findings by kind."""
    console.print(f"{audit.root} is {audit.reason}", markup=False, highlight=False)
    console.print(_splits_table(audit.splits))
    console.print(_classes_table(audit.splits))
    summary = summarize_findings(audit.findings, max_examples=_EXAMPLES_PER_KIND)
    console.print(summary, markup=False, highlight=False)


def _splits_table(splits: tuple[SplitSummary, ...]) -> Table:
    table = Table("split", "images", "empty images", "objects", "ignored", "smallest box", "largest box")
    for entry in splits:
        counts = (entry.num_images, entry.num_empty_images, entry.num_objects, entry.num_ignored)
        table.add_row(escape(entry.split), *map(str, counts), _box(entry.smallest_box_wh), _box(entry.largest_box_wh))
    return table


def _classes_table(splits: tuple[SplitSummary, ...]) -> Table:
    table = Table("class", *(f"in {entry.split}" for entry in splits))
    names = dict.fromkeys(name for entry in splits for name in entry.objects_per_class)
    for name in names:
        table.add_row(escape(name), *(str(entry.objects_per_class.get(name, 0)) for entry in splits))
    return table


def _box(size_wh: tuple[float, float] | None) -> str:
    return "none" if size_wh is None else f"{size_wh[0]:.0f}x{size_wh[1]:.0f}"


if __name__ == "__main__":
    run_alone(check)

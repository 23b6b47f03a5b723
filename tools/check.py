"""The command ``multibox check``: audits a data set before anyone trains on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detection.atomic import atomic_path
from detection.data.audit import Audit, SplitSummary, audit_dataset
from detection.data.findings import summarize_findings
from detection.errors import InputError
from tools.cli import run_alone

EXIT_FINDINGS = 1  # 2, the data set cannot be read, is the exit code of every InputError.
_EXAMPLES_PER_KIND = 3

# File and class names are shown as they are: [bold] and :car: in them are no markup.
console = Console(soft_wrap=True, markup=False, highlight=False, emoji=False)


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
        audit = audit_dataset(data, split or (), on_image=lambda path: status.update(Text(f"reading {path.name}")))
    print_audit(audit, more_hint="" if json_file else "; --json FILE writes all")
    if json_file is not None:
        _write_json(json_file, audit)
    if audit.findings:
        raise typer.Exit(EXIT_FINDINGS)


def print_audit(audit: Audit, *, more_hint: str = "") -> None:
    """Prints the format, a table of the splits, the objects of each class and the findings by kind.

    Args:
        audit: What was found.
        more_hint: Where the findings are that are not written out.
    """
    console.print(f"{audit.root} is {audit.reason}")
    console.print(_splits_table(audit.splits))
    console.print(_classes_table(audit.splits))
    console.print(summarize_findings(audit.findings, max_examples=_EXAMPLES_PER_KIND, more_hint=more_hint))


def _write_json(path: Path, audit: Audit) -> None:
    try:
        with atomic_path(path) as draft:
            draft.write_text(json.dumps(asdict(audit), indent=2, default=str), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another file with --json") from error


def _splits_table(splits: tuple[SplitSummary, ...]) -> Table:
    table = Table("split", "images", "empty images", "objects", "ignored", "smallest box", "largest box")
    for entry in splits:
        counts = (entry.num_images, entry.num_empty_images, entry.num_objects, entry.num_ignored)
        table.add_row(entry.split, *map(str, counts), _box(entry.smallest_box_wh), _box(entry.largest_box_wh))
    return table


def _classes_table(splits: tuple[SplitSummary, ...]) -> Table:
    table = Table("class", *(f"in {entry.split}" for entry in splits))
    names = dict.fromkeys(name for entry in splits for name in entry.objects_per_class)
    for name in names:
        table.add_row(name, *(str(entry.objects_per_class.get(name, 0)) for entry in splits))
    return table


def _box(size_wh: tuple[float, float] | None) -> str:
    return "none" if size_wh is None else f"{size_wh[0]:.0f}x{size_wh[1]:.0f}"


if __name__ == "__main__":
    run_alone(check)

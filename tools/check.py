"""The command ``multibox check``: audits a data set before anyone trains on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from detection.atomic import make_folder, write_json
from detection.data.audit import Audit, audit_dataset
from detection.data.findings import summarize_findings
from detection.data.mend import left_for_a_person, mend_dataset, refuse_folder, write_changes
from detection.data.records import Finding
from detection.data.statistics import SplitSummary
from detection.data.written import WrittenFormat
from detection.errors import InputError
from detection.evaluation.audit_page import write_audit_page
from tools.cli import plain_console, run_alone
from tools.progress import tracking

EXIT_FINDINGS = 1  # 2, the data set cannot be read, is the exit code of every InputError.
_EXAMPLES_PER_KIND = 3

console = plain_console()


def check(
    data: Annotated[Path, typer.Argument(help="Data folder (VOC, COCO, YOLO or ILSVRC), or a COCO json or YOLO yaml.")],
    split: Annotated[list[str] | None, typer.Option(help="Split to check; may be repeated. Default: all.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures and findings to this file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write check.html, with sample drawings, and check.json here.")
    ] = None,
    fix: Annotated[
        Path | None, typer.Option(help="Write a mended copy, images and labels, to this new folder, and fix.json.")
    ] = None,
    form: Annotated[
        WrittenFormat | None, typer.Option("--format", help="Of the copy: coco (the default), voc or yolo.")
    ] = None,
) -> None:
    """Audit a data set: every split is read, every image decoded and compared, every box checked.

    Example: multibox check data/cards --out checked --fix data/cards-mended

    Example: multibox check data/cards --fix data/cards-yolo --format yolo

    Exit code: 0 clean, 1 findings, 2 the data set cannot be read. With --fix it is that of the copy.
    """
    _refuse(data, fix, form, {"--json": json_file, "--out": out})
    if json_file is not None:
        _try_to_write(json_file, option="--json")
    if out is not None:
        _try_to_write(out / "check.json", option="--out")
    audit = _audit(data, split or ())
    has_all = json_file is not None or out is not None
    print_audit(audit, more_hint="" if has_all else "; --out DIR or --json FILE writes all")
    if json_file is not None:
        _write_json(json_file, audit, option="--json")
    if out is not None:
        _write_json(out / "check.json", audit, option="--out")
        write_audit_page(out / "check.html", audit)
        console.print(f"{out / 'check.html'} shows figures, findings and samples")
    left: Sequence[Finding] = audit.findings
    if fix is not None:
        left = _fix(audit, fix, form or "coco")
    if left:
        raise typer.Exit(EXIT_FINDINGS)


def _refuse(data: Path, fix: Path | None, form: str | None, written: Mapping[str, Path | None]) -> None:
    """Refuses what is wrong about a copy before the long look at the data, not after it.

    Args:
        data: The data set.
        fix: The folder of the copy, if one is asked for.
        form: Its format, if one is named.
        written: Option -> what else is to be written.

    Raises:
        InputError: If there is a format but no folder, or the folder is not empty, lies in the data set or would hold
            what else is written.
    """
    if fix is None:
        if form is not None:
            raise InputError(f"--format {form} is that of a copy; name its folder with --fix")
        return
    refuse_folder(data, fix)
    for option, path in written.items():
        if path is not None and path.resolve().is_relative_to(fix.resolve()):
            raise InputError(f"{path}: lies in {fix}, which is for the copy alone; name a place outside with {option}")


def _audit(data: Path, splits: Sequence[str]) -> Audit:
    """Audits a data set and shows how far it is."""
    with tracking(console, "decoding images") as on_image:
        return audit_dataset(
            data, splits, on_split=lambda name: console.print(f"reading labels of {name}"), on_image=on_image
        )


def _fix(audit: Audit, out: Path, form: WrittenFormat) -> Sequence[Finding]:
    """Writes the mended copy, checks it and tells what is left for a person."""
    with tracking(console, "copying images") as on_image:
        changes = mend_dataset(audit, out, form=form, on_image=on_image)
    left = left_for_a_person(audit, _audit(out, ()))
    write_changes(out, audit, changes, left)
    console.print(f"{out}: mended copy, images and labels ({form}); fix.json lists {len(changes)} changes")
    if left:
        console.print(f"left for a person to decide:\n{summarize_findings(left, more_hint='; fix.json has all')}")
    return left


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


def _try_to_write(path: Path, *, option: str) -> None:
    """Makes the folder of a file and sees whether it can be written to, before every image is looked at."""
    try:
        make_folder(path.parent)
    except OSError as error:
        raise _no_place(path, error, option) from error


def _write_json(path: Path, audit: Audit, *, option: str) -> None:
    try:
        write_json(path, audit.to_document())
    except OSError as error:
        raise _no_place(path, error, option) from error


def _no_place(path: Path, error: OSError, option: str) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror}); name another place with {option}")


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

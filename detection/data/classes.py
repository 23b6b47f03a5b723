"""Which label an object gets: by name, in an order that the caller fixes.

Legend: N objects of the split, C classes that the caller knows, F classes that the files name.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal, TypeAlias

import numpy as np

from detection.data.raw import Int64Array, RawObject, RawSplit, first_names, first_repeats
from detection.data.records import Finding
from detection.errors import InputError

UnknownClasses: TypeAlias = Literal["error", "drop"]

UNKNOWN_LABEL = -1


@dataclass(frozen=True)
class ClassMatch:
    """How the classes of the files map to labels.

    Attributes:
        class_names: C names.
        category_ids: C ids: those of the files where the files have the class, else the next free numbers.
        label_of: (F,) int64 label of each class of the files; `UNKNOWN_LABEL` where the caller does not know it.
        findings: One for each class that was dropped.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    label_of: Int64Array
    findings: tuple[Finding, ...]


def match_classes(raw: RawSplit, class_names: Sequence[str] | None, unknown_classes: UnknownClasses) -> ClassMatch:
    """Matches the classes of the files to the caller's, by name.

    Args:
        raw: The split as it is written.
        class_names: C distinct names in label order; None takes those of the files, in their order.
        unknown_classes: What to do with objects of another class: raise, or drop them with one finding per class.

    Returns:
        The labels. A class of the caller without a single object is no fault.

    Raises:
        InputError: If an object has an unknown class and ``unknown_classes`` is ``error``.
    """
    names = raw.class_names if class_names is None else tuple(class_names)
    position = {name: label for label, name in enumerate(names)}
    label_of = np.array([position.get(name, UNKNOWN_LABEL) for name in raw.class_names], dtype=np.int64)
    unknown = _rows_of_unknown(raw, label_of)
    findings = [_unknown_class(raw, rows, names) for rows in unknown]
    if findings and unknown_classes == "error":
        others = [f"'{raw.class_names[rows[0].label]}'" for rows in unknown[1:]]
        more = f"; nor are {first_names(others, 10)}" if others else ""
        remedy = "correct the names, or leave such objects out with --drop-unknown"
        raise InputError(f"{findings[0].file}: {findings[0].message}{more}; {remedy}")
    return ClassMatch(names, _category_ids(raw, names), label_of, tuple(findings))


def check_class_table(file: str, ids: Sequence[int], names: Sequence[str]) -> None:
    """Refuses a table of classes that is empty, repeats an id or a name, or has a name that no file can hold.

    Args:
        file: The file that holds the table, for the message.
        ids: The ids, one a class.
        names: The names, in the same order.

    Raises:
        InputError: If the table is empty or ambiguous, or a name holds half a character (a lone surrogate).
    """
    if not names:
        raise InputError(f"{file}: names no class; list the class names")
    for name in names:
        if any("\ud800" <= letter <= "\udfff" for letter in str(name)):
            raise InputError(f"{file}: class name {name!a} is no text that a file can hold; correct it")
    for what, entries in (("id", ids), ("name", names)):
        repeats = first_repeats([str(entry) for entry in entries])
        if repeats:
            raise InputError(f"{file}: class {what} {repeats} stands more than once; make it unique")


def _rows_of_unknown(raw: RawSplit, label_of: Int64Array) -> list[list[RawObject]]:
    """The objects of each unknown class; classes in the order of their first object."""
    groups: dict[int, list[RawObject]] = {}
    if (label_of == UNKNOWN_LABEL).any():
        for row in raw.objects:
            if label_of[row.label] == UNKNOWN_LABEL:
                groups.setdefault(row.label, []).append(row)
    return list(groups.values())


def _unknown_class(raw: RawSplit, rows: Sequence[RawObject], known: Sequence[str]) -> Finding:
    first, name = rows[0], raw.class_names[rows[0].label]
    folded = {known_name.casefold(): known_name for known_name in known}
    nearest = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"; nearest: '{folded[nearest[0]]}'" if nearest else ""
    more = f", as have {len(rows) - 1} more objects" if len(rows) > 1 else ""
    return Finding(
        kind="unknown-class",
        file=raw.images[first.image_index].label_file,
        message=f"{raw.locate(first)} has the class '{name}'{more}, which is none of {', '.join(known)}{hint}",
        remedy="correct the name; left out",
    )


def _category_ids(raw: RawSplit, names: Sequence[str]) -> tuple[int, ...]:
    if raw.category_ids is None:
        return tuple(range(1, len(names) + 1))
    id_of = dict(zip(raw.class_names, raw.category_ids, strict=True))
    free_ids = count(max(raw.category_ids, default=0) + 1)
    return tuple(id_of[name] if name in id_of else next(free_ids) for name in names)

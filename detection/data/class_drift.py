"""Classes that do not fit together: names that differ between splits or nearly repeat each other, ids that change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from detection.data.raw import first_names
from detection.data.records import DetectionData, Finding

SAME_NAME = "differs only in case, blanks, _ or -"

_REFERENCE_SPLITS = ("trainval", "train")
BACKGROUND = "background"
_MIN_TYPO_LENGTH = 4  # Shorter names, like car and cat, differ by a letter and mean it.
_LETTERS_PER_TYPO = 5

_LETTER = r"[^\W\d_]"
_FILLING = re.compile(rf"(?<={_LETTER})[\s_-]+(?={_LETTER})|^[\s_]+(?={_LETTER})|(?<={_LETTER})[\s_]+$")


def reference_split(parts: Sequence[DetectionData]) -> DetectionData:
    """The split that is learnt from: ``trainval`` or ``train``, else the first."""
    by_name = {part.split: part for part in parts}
    return next((by_name[name] for name in _REFERENCE_SPLITS if name in by_name), parts[0])


def find_class_drift(parts: Sequence[DetectionData]) -> list[Finding]:
    """Finds classes that do not fit together.

    Args:
        parts: The splits, at least one, each with its own class names.

    Returns:
        ``foreign-class``: names that the split learnt from lacks, with the name probably meant.
        ``untaught-class``: names that it has, but without objects. ``similar-classes``: two names of one split that are
        probably one class. ``background-class``. ``class-id``: ids of one name that differ between COCO jsons.
    """
    reference = reference_split(parts)
    findings = []
    for part in parts:
        findings += [*_foreign(part, reference), *_untaught(part, reference), *_similar(part), *_background(part)]
    return [*findings, *_other_ids(parts, reference)]


def fold_name(name: str) -> str:
    """A class name without case, without blanks, ``_`` and ``-`` between letters, without blanks and ``_`` around it.

    Any other character may mean something, and so may these beside a digit: C++ is not C#, 1.5 not 15, -1 not 1, A-
    not A.
    """
    return _FILLING.sub("", name.casefold())


def likeness(name: str, other: str) -> str:
    """Says in what two different class names are alike; empty if they are not.

    Args:
        name: A name.
        other: Another.

    Returns:
        `SAME_NAME`, ``singular and plural`` or ``N letters apart``.
    """
    first, second = sorted((fold_name(name), fold_name(other)), key=len)
    if first == second:
        return SAME_NAME
    if second in {f"{first}s", f"{first}es"} or (first.endswith("y") and second == f"{first[:-1]}ies"):
        return "singular and plural"
    allowed = 1 + (len(first) - _MIN_TYPO_LENGTH) // _LETTERS_PER_TYPO if len(first) >= _MIN_TYPO_LENGTH else 0
    if len(second) - len(first) > allowed or (distance := edit_distance(first, second)) > allowed:
        return ""
    return f"{distance} letter{'s' * (distance > 1)} apart"


def edit_distance(first: str, second: str) -> int:
    """The fewest letters to insert, delete or replace, or neighbours to swap, that turn one word into the other."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for index, letter in enumerate(first, start=1):
        earlier, before, row = before, row, [index, *[0] * len(second)]
        for column, other in enumerate(second, start=1):
            replaced = before[column - 1] + (letter != other)
            row[column] = min(before[column] + 1, row[column - 1] + 1, replaced)
            if min(index, column) > 1 and letter == second[column - 2] and other == first[index - 2]:
                row[column] = min(row[column], earlier[column - 2] + 1)
    return row[-1]


def count_objects(part: DetectionData, *, learnt: bool = False) -> Mapping[str, int]:
    """Class name -> number of objects of a split, or of those that are learnt: all but difficult ones and crowds."""
    chosen = (image.labels[~image.ignore] if learnt else image.labels for image in part.images)
    labels = np.concatenate([np.zeros(0, np.int64), *chosen])
    counts = np.bincount(labels, minlength=len(part.class_names)).tolist()
    return dict(zip(part.class_names, counts, strict=True))


def _foreign(part: DetectionData, reference: DetectionData) -> Iterator[Finding]:
    """Classes that a model trained on the reference cannot know."""
    foreign = [name for name in part.class_names if name not in reference.class_names]
    if foreign:
        written = ", ".join(name + _meant(name, reference.class_names) for name in foreign)
        message = f"has classes that split '{reference.split}' lacks: {written}"
        known = ", ".join(reference.class_names)
        remedy = f"correct the names, or add such objects; '{reference.split}' has {known}"
        yield Finding("foreign-class", f"split {part.split}", message, remedy)


def _meant(name: str, known: Sequence[str]) -> str:
    """The name that was probably meant, for a message; empty if none is near."""
    near = [(other, reason) for other in known if (reason := likeness(name, other))]
    best = min(near, key=lambda pair: edit_distance(name, pair[0]), default=None)
    return "" if best is None else f" (perhaps '{best[0]}': {best[1]})"


def _untaught(part: DetectionData, reference: DetectionData) -> Iterator[Finding]:
    if not any(len(image.boxes) for image in reference.images):
        return
    taught, there = count_objects(reference, learnt=True), count_objects(part, learnt=True)
    untaught = [f"{name} ({count})" for name, count in there.items() if count and taught.get(name) == 0]
    if untaught:
        names = first_names(untaught, 10)
        message = f"has objects of classes of which split '{reference.split}' has none to learn from: {names}"
        remedy = "add such objects there, or do not count on these classes"
        yield Finding("untaught-class", f"split {part.split}", message, remedy)


def _similar(part: DetectionData) -> Iterator[Finding]:
    """Two names of one split that are one class by all appearances; a typo alone is too little within one split."""
    groups: dict[str, list[str]] = {}
    for name in part.class_names:
        groups.setdefault(fold_name(name), []).append(name)
    pairs = [pair for names in groups.values() for pair in combinations(names, 2)]
    for folded, names in groups.items():
        plurals = [f"{folded}s", f"{folded}es", *([f"{folded[:-1]}ies"] if folded.endswith("y") else [])]
        pairs += [(names[0], groups[plural][0]) for plural in plurals if plural in groups]
    counts = count_objects(part) if pairs else {}
    for name, other in pairs:
        message = f"has the classes '{name}' ({counts[name]} objects) and '{other}' ({counts[other]}): "
        remedy = "give them one name if they are one class"
        yield Finding("similar-classes", f"split {part.split}", message + likeness(name, other), remedy)


def _background(part: DetectionData) -> Iterator[Finding]:
    for name, category_id in zip(part.class_names, part.category_ids, strict=True):
        if fold_name(name) == BACKGROUND:
            message = f"class {category_id} is '{name}', with {count_objects(part)[name]} objects"
            remedy = "delete it: what no box covers is background already"
            yield Finding("background-class", f"split {part.split}", message, remedy)


def _other_ids(parts: Sequence[DetectionData], reference: DetectionData) -> Iterator[Finding]:
    """Classes whose id changes from one COCO json to the other; other formats keep one table or number by name."""
    if reference.format != "coco":
        return
    known = dict(zip(reference.class_names, reference.category_ids, strict=True))
    for part in parts:
        pairs = zip(part.class_names, part.category_ids, strict=True)
        other = [
            f"{name} is {number}, not {known[name]}" for name, number in pairs if known.get(name, number) != number
        ]
        if other:
            message = f"has other category ids than split '{reference.split}': {first_names(other, 10)}"
            remedy = "number the categories alike; matched by name here, but other tools match by id"
            yield Finding("class-id", f"split {part.split}", message, remedy)

"""One table of the classes of all splits: names that are one class by all appearances are merged, no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from detection.data.class_drift import BACKGROUND, count_objects, fold_name, reference_split
from detection.data.records import DetectionData


@dataclass(frozen=True)
class ClassTable:
    """The classes of a copy.

    Attributes:
        id_of: Name -> category id, in the order of the json.
        name_of: Each name of the source -> the name in the copy.
    """

    id_of: Mapping[str, int]
    name_of: Mapping[str, str]


def merge_classes(parts: Sequence[DetectionData]) -> ClassTable:
    """Makes one table of the classes of all splits.

    Names alike by `fold_name` become the one with the most objects in the split that is learnt from, else anywhere. But
    where two of them have objects in one split, somebody has told them apart there, like A and a: all keep their names.
    A class ``background`` without objects is left out. Ids are kept where they are free.

    Args:
        parts: The splits, at least one.

    Returns:
        The table, in the order of the split that is learnt from, then of the others.
    """
    reference = reference_split(parts)
    ordered = [reference, *(part for part in parts if part is not reference)]
    counts = [count_objects(part) for part in ordered]
    wanted: dict[str, int] = {}
    groups: dict[str, list[str]] = {}
    for part in ordered:
        for name, category_id in zip(part.class_names, part.category_ids, strict=True):
            if name not in wanted:
                wanted[name] = category_id
                groups.setdefault(fold_name(name), []).append(name)
    name_of = {name: new for folded, names in groups.items() for name, new in _rename(folded, names, counts).items()}
    free_ids = count(max(wanted.values(), default=0) + 1)
    id_of: dict[str, int] = {}
    for name, category_id in wanted.items():
        if name_of.get(name) == name:
            id_of[name] = category_id if category_id not in id_of.values() else next(free_ids)
    return ClassTable(id_of, name_of)


def _rename(folded: str, names: Sequence[str], counts: Sequence[Mapping[str, int]]) -> Mapping[str, str]:
    """Name -> new name of names that are alike; empty to leave them out.

    Args:
        folded: What `fold_name` makes of each of them.
        names: At least one.
        counts: Name -> number of objects of each split, the one that is learnt from first.
    """
    total: Counter[str] = Counter()
    for of_split in counts:
        total.update({name: of_split.get(name, 0) for name in names})
    if folded == BACKGROUND and not any(total.values()):
        return {}
    if any(sum(of_split.get(name, 0) > 0 for name in names) > 1 for of_split in counts):
        return {name: name for name in names}
    return dict.fromkeys(names, max(names, key=lambda name: (counts[0].get(name, 0), total[name])))

"""The blacklist of ILSVRC's detection devkit: classes that are not judged on some images, their labels being unclear.

``devkit/data/ILSVRC2014_det_validation_blacklist.txt`` (each year has its own) has a line ``21 n02672831`` for each
pair: the number that ``ImageSets/DET/val.txt`` gives the image, and a synset. The devkit counts neither the objects nor
the detections of that class there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from detection.data.records import Finding

_FILES = "devkit/data/ILSVRC*_det_validation_blacklist.txt"


def read_blacklist(
    root: Path, image_ids: Mapping[int, int], label_of: Mapping[str, int]
) -> tuple[tuple[tuple[int, int], ...], list[Finding]]:
    """Reads the blacklist of the latest year that is there.

    Args:
        root: The data folder.
        image_ids: Number of a validation image -> its image id, of the images of the split.
        label_of: Synset id -> label, of its classes.

    Returns:
        (image id, label) of each pair that concerns the split, and a finding for each line that is no pair. Without a
        file or without numbered images there are none.
    """
    path = max(root.glob(_FILES), default=None)
    if path is None or not image_ids:
        return (), []
    pairs, findings = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        fields = line.split()
        image_number = read_number(fields[0]) if len(fields) == 2 else None
        if image_number is not None:
            image_id, label = image_ids.get(image_number), label_of.get(fields[1])
            if image_id is not None and label is not None:
                pairs.append((image_id, label))
        elif fields:
            message = f"line {number} is '{line[:60]}', expected the number of an image and a synset id"
            file = path.relative_to(root).as_posix()
            findings.append(Finding("bad-blacklist-line", file, message, "correct or delete it; passed over"))
    return tuple(pairs), findings


def read_number(text: str) -> int | None:
    """A number as the devkit's files have them, from 0 and of nine digits at most; None for anything else."""
    return int(text) if text.isdecimal() and len(text) <= 9 else None  # of thousands of digits Python reads none

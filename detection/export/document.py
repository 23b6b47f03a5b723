"""What an exported file says of itself: everything that its user needs beside the graph, as one JSON document."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from detection.checkpoint import read_classes, sha256_of
from detection.detector import Detector

FORMAT = "multibox-rcnn export 1"


@dataclass(frozen=True)
class ExportDocument:
    """The document.

    Attributes:
        class_names: C names; a label indexes into them.
        category_ids: C ids of the training data.
        longest_side: Longer side to which the graph scales its images, in pixels.
        score_threshold: Weaker detections never leave the graph.
        max_detections: Nor do more than these of an image.
        thresholds: Kind -> lowest score of each class, where the model was calibrated; see ``detection.calibration``.
        source: Which model file it was made of, as seen from the folder of the export; of earlier versions as given.
        source_sha256: Of that file.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    longest_side: int
    score_threshold: float
    max_detections: int
    thresholds: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    source: str = ""
    source_sha256: str = ""

    @classmethod
    def of(cls, detector: Detector, source: Path, folder: Path) -> ExportDocument:
        """The document of a detector that was read from a file, for an export into a folder."""
        return cls(
            class_names=detector.class_names,
            category_ids=detector.category_ids,
            longest_side=detector.longest_side,
            score_threshold=detector.network.detection_settings.score_threshold,
            max_detections=detector.max_detections,
            thresholds=dict(detector.thresholds),
            source=_seen_from(folder, source),
            source_sha256=sha256_of([source]),
        )

    def found_from(self, file: Path) -> ExportDocument:
        """The document that a file holds, its source as a path from here: where it lies, or should."""
        place = (file.resolve().parent / self.source).resolve()
        return self if Path(self.source).is_file() and not place.is_file() else replace(self, source=str(place))

    def to_text(self) -> str:
        """JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_text(cls, text: str) -> ExportDocument:
        """Reads what ``to_text`` gave.

        Raises:
            ValueError: If it is something else.
        """
        try:
            document: Any = json.loads(text)
        except RecursionError as error:
            raise ValueError("its document is nested too deeply") from error
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise ValueError(f"expected a document of format {FORMAT!r}, got {text[:80]!r}")
        try:
            names, ids = read_classes(document.pop("class_names"), document.pop("category_ids"))
            thresholds = {kind: tuple(values) for kind, values in document.pop("thresholds").items()}
            if any(len(values) != len(names) for values in thresholds.values()):
                raise ValueError(f"thresholds of other than its {len(names)} classes")
            read = cls(class_names=names, category_ids=ids, thresholds=thresholds, **document)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its document lacks or adds fields ({error})") from error
        texts, counts = (read.source, read.source_sha256), (read.longest_side, read.max_detections)
        scores = [read.score_threshold, *(value for values in thresholds.values() for value in values)]
        if not (
            all(isinstance(text, str) for text in texts)
            and all(type(number) is int and number > 0 for number in counts)
            and all(score is None or (type(score) in (int, float) and 0 <= score <= 1) for score in scores)
        ):
            raise ValueError("a field of its document has another type than ours have, or is no score from 0 to 1")
        return read


def _seen_from(folder: Path, path: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return str(path)

"""The detector over the labelled images of a data set, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.detector import Detector
from detection.errors import InputError
from detection.image_detector import ImageDetector
from detection.side_by_side import count_lanes, side_by_side
from detection.structures import Detections
from detection.tracing import Trace, trace_image
from proposals.structures import Proposals


@dataclass
class SplitAnswers:
    """What a detector says of a split, by image id, in pixels of the original images.

    Attributes:
        detections: Of every image that could be read.
        proposals: The best of every image that could be read; empty if none are kept or it makes several passes.
        failures: File name -> why it could not be read.
    """

    detections: dict[int, Detections] = field(default_factory=dict)
    proposals: dict[int, Proposals] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def detect_records(
    detector: ImageDetector,
    records: Sequence[ImageRecord],
    *,
    keep_proposals: int = 0,
    heard: Callable[[], None] | None = None,
    traced: Callable[[ImageRecord, Trace], None] | None = None,
) -> SplitAnswers:
    """Detects on every image; a file that cannot be read is reported and does not end the run.

    On a CPU several images are looked at side by side.

    Args:
        detector: The detector.
        records: The images.
        keep_proposals: How many of an image's best to keep: thousands for each of many images fill the memory.
        heard: Called after each image, for progress.
        traced: Called with what the stages thought of each image, which is then forgotten; only a detector of one pass
            of one network has that.
    """
    answers = SplitAnswers()
    look = partial(_look_at, detector, follow=traced is not None)
    lanes = max(1, min(count_lanes(detector.device), len(records)))
    with closing(side_by_side(look, records, lanes=lanes)) as looks:
        for record, found in zip(records, looks, strict=True):
            if isinstance(found, InputError):
                answers.failures[record.file_name] = str(found)
            else:
                answers.detections[record.image_id] = found.detections
                if keep_proposals and found.proposals is not None:
                    answers.proposals[record.image_id] = found.proposals.best(keep_proposals)
                if traced is not None and found.trace is not None:
                    traced(record, found.trace)
            if heard is not None:
                heard()
    return answers


class _Found(NamedTuple):
    """What a look at an image gave; proposals are those of one pass of one network, and a trace is if wanted."""

    detections: Detections
    proposals: Proposals | None
    trace: Trace | None


def _look_at(detector: ImageDetector, record: ImageRecord, *, follow: bool) -> _Found | InputError:
    """What is found on an image, or why it cannot be read."""
    try:
        image = read_image(record.path)
        if not isinstance(detector, Detector):
            return _Found(detector.detect_images([image])[0], None, None)
        answer, trace = trace_image(detector, image) if follow else (detector.answer([image])[0], None)
    except InputError as error:
        return error
    return _Found(answer.detections, answer.proposals, trace)

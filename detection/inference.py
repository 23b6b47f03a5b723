"""The detector over the labelled images of a data set, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.detector import Detector
from detection.errors import InputError
from detection.structures import Detections
from proposals.structures import Proposals


@dataclass
class SplitAnswers:
    """What a detector says of a split, by image id, in pixels of the original images.

    Attributes:
        detections: Of every image that could be read.
        proposals: The same.
        failures: File name -> why it could not be read.
    """

    detections: dict[int, Detections] = field(default_factory=dict)
    proposals: dict[int, Proposals] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def detect_records(
    detector: Detector, records: Sequence[ImageRecord], *, heard: Callable[[], None] | None = None
) -> SplitAnswers:
    """Detects on every image, one at a time; a file that cannot be read is told and does not end the run.

    Args:
        detector: The detector.
        records: The images.
        heard: Called after each image, for progress.
    """
    answers = SplitAnswers()
    for record in records:
        try:
            answer = detector.answer([read_image(record.path)])[0]
        except InputError as error:
            answers.failures[record.file_name] = str(error)
        else:
            answers.detections[record.image_id] = answer.detections
            answers.proposals[record.image_id] = answer.proposals
        if heard is not None:
            heard()
    return answers

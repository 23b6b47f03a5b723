"""The detector over the labelled images of a data set, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.detector import Detector
from detection.errors import InputError
from detection.image_detector import ImageDetector
from detection.preprocess import Image
from detection.structures import Detections
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
) -> SplitAnswers:
    """Detects on every image, one at a time; a file that cannot be read is told and does not end the run.

    Args:
        detector: The detector.
        records: The images.
        keep_proposals: Best proposals of each image that are kept: thousands for each of many images fill the memory.
        heard: Called after each image, for progress.
    """
    answers = SplitAnswers()
    for record in records:
        try:
            detections, proposals = _answer(detector, read_image(record.path))
        except InputError as error:
            answers.failures[record.file_name] = str(error)
        else:
            answers.detections[record.image_id] = detections
            if keep_proposals and proposals is not None:
                answers.proposals[record.image_id] = proposals.best(keep_proposals)
        if heard is not None:
            heard()
    return answers


def _answer(detector: ImageDetector, image: Image) -> tuple[Detections, Proposals | None]:
    """The detections, and the proposals if they are of one pass of one network."""
    if isinstance(detector, Detector):
        answer = detector.answer([image])[0]
        return answer.detections, answer.proposals
    return detector.detect_images([image])[0], None

"""The detector over the labelled images of a data set, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.detector import Detector
from detection.errors import InputError
from detection.image_detector import ImageDetector
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
    """Detects on every image, one at a time; a file that cannot be read is reported and does not end the run.

    Args:
        detector: The detector.
        records: The images.
        keep_proposals: How many of an image's best to keep: thousands for each of many images fill the memory.
        heard: Called after each image, for progress.
        traced: Called with what the stages thought of each image, which is then forgotten; only a detector of one pass
            of one network has that.
    """
    answers = SplitAnswers()
    for record in records:
        try:
            detections, proposals = _answer(detector, record, traced)
        except InputError as error:
            answers.failures[record.file_name] = str(error)
        else:
            answers.detections[record.image_id] = detections
            if keep_proposals and proposals is not None:
                answers.proposals[record.image_id] = proposals.best(keep_proposals)
        if heard is not None:
            heard()
    return answers


def _answer(
    detector: ImageDetector, record: ImageRecord, traced: Callable[[ImageRecord, Trace], None] | None
) -> tuple[Detections, Proposals | None]:
    """The detections, and the proposals if they are of one pass of one network."""
    image = read_image(record.path)
    if not isinstance(detector, Detector):
        return detector.detect_images([image])[0], None
    if traced is None:
        answer = detector.answer([image])[0]
    else:
        answer, trace = trace_image(detector, image)
        traced(record, trace)
    return answer.detections, answer.proposals

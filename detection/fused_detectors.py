"""Several detectors as one: models trained apart, or one model that looks several times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from detection.errors import InputError
from detection.fusion import fuse_detections
from detection.image_detector import ImageDetector
from detection.preprocess import Image
from detection.structures import Detections


class FusedDetectors:
    """Asks every detector and fuses the answers (``fuse_detections``).

    Args:
        detectors: One or more, of the same classes and category ids.
        max_detections: Detections of an image at most, best first.

    Raises:
        InputError: If their classes or category ids differ.
    """

    def __init__(self, detectors: Sequence[ImageDetector], *, max_detections: int) -> None:
        check_same_classes(detectors)
        self.detectors = tuple(detectors)
        self.max_detections = max_detections
        self.class_names = detectors[0].class_names
        self.category_ids = detectors[0].category_ids
        devices = [each.device for each in detectors]
        self.device = next((each for each in devices if each.type != "cpu"), devices[0])  # the one to go easy on

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        """(H, W, 3) uint8 RGB images of any sizes -> fused detections in the pixels of each."""
        answers = [detector.detect_images(images) for detector in self.detectors]
        return [fuse_detections(lists)[: self.max_detections] for lists in zip(*answers, strict=True)]


def check_same_classes(detectors: Sequence[ImageDetector]) -> None:
    """Checks that labels mean the same in every detector.

    Raises:
        InputError: If there is none, or names, ids or their order differ.
    """
    if not detectors:
        raise InputError("expected one model or more, got none")
    first = detectors[0]
    for number, other in enumerate(detectors[1:], start=2):
        for what, expected, found in (
            ("classes", first.class_names, other.class_names),
            ("category ids", first.category_ids, other.category_ids),
        ):
            if difference := _first_difference(expected, found):
                raise InputError(
                    f"model {number} has other {what} than model 1: {difference}; give models of one data set"
                )


def _first_difference(expected: Sequence[object], found: Sequence[object]) -> str:
    """Where two lists differ first, in words; empty if they do not."""
    missing = object()
    for place, (one, other) in enumerate(zip_longest(expected, found, fillvalue=missing), start=1):
        if one != other:
            shown, wanted = ("missing" if each is missing else repr(each) for each in (other, one))
            return f"number {place} is {shown}, in model 1 it is {wanted}"
    return ""

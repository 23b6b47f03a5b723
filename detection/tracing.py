"""What every stage of a detector thought of one image, before thresholds and suppression: why an object was missed.

Legend: P proposals, C classes, D detections. Boxes are xyxy in pixels of the original image, half-open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detection.calibration import calibrated_scores
from detection.detector import Detector
from detection.network import Answer, Judgement
from detection.postprocess import refine_boxes, score_regions
from detection.preprocess import Image, original_boxes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trace:
    """One image on its way through the stages; about C times as large as its proposals, so it is not kept.

    Attributes:
        proposals: (P, 4) the regions as they were proposed.
        probabilities: (P, C + 1) what the classifier said of each, background last.
        boxes: (P, C, 4) each region refined for each class, from where it was judged last.
        scores: (P, C) the score that a detection of this region and class gets, calibrated if the detector's are; -1
            where the network's own lowest score is not reached.
        found: (D, 4) boxes of the detections.
        found_scores: (D,) their scores.
        found_labels: (D,) their classes.
        overlap_lost: Overlap from which a better detection of the same class costs another its place.
        is_full: Whether there are as many detections as an image may have, so that more may have been cut off.
    """

    proposals: Floats
    probabilities: Floats
    boxes: Floats
    scores: Floats
    found: Floats
    found_scores: Floats
    found_labels: Ints
    overlap_lost: float
    is_full: bool


@torch.inference_mode()
def trace_image(detector: Detector, image: Image) -> tuple[Answer, Trace]:
    """Detects on one image and keeps what each stage thought.

    Args:
        detector: One network in one pass.
        image: (H, W, 3) uint8 RGB.

    Returns:
        The answer, the same as ``detector.answer`` gives, and the trace.
    """
    answer, judgement = detector.judge(image)
    settings = detector.network.detection_settings
    found = answer.detections
    trace = Trace(
        proposals=_array(answer.proposals.boxes),
        probabilities=_array(judgement.probabilities),
        boxes=_array(_refined(judgement, found.image_size_hw)),
        scores=_array(_scores(detector, judgement)),
        found=_array(found.boxes),
        found_scores=_array(found.scores),
        found_labels=found.labels.numpy(),
        overlap_lost=settings.overlap_lost,
        is_full=len(found) >= settings.max_detections,
    )
    return answer, trace


def _refined(judgement: Judgement, size_hw: tuple[int, int]) -> Tensor:
    """(P, C, 4) the box of every region for every class, in original pixels."""
    _, regions, probabilities, offsets = judgement
    boxes = regions.boxes[:, None].expand(-1, probabilities.shape[1] - 1, -1)
    return original_boxes(refine_boxes(boxes, offsets, regions.image_size_hw), regions.image_size_hw, size_hw)


def _scores(detector: Detector, judgement: Judgement) -> Tensor:
    """(P, C) the scores of ``select_detections``, calibrated, on the CPU; -1 where it drops them at once."""
    settings = detector.network.detection_settings
    # To the CPU first: calibration works in double precision, which not every device knows.
    scores = score_regions(judgement.proposals, judgement.probabilities, settings).cpu()
    dropped = scores < settings.score_threshold
    if detector.calibration is not None:
        maps = torch.tensor(detector.calibration.maps, dtype=torch.float64)
        scores = calibrated_scores(scores, *maps.unbind(dim=1))
    return scores.masked_fill(dropped, -1.0)


def _array(tensor: Tensor) -> Floats:
    return tensor.cpu().double().numpy()

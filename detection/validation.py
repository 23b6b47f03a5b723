"""The validation during training: judges the averaged weights and keeps the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detection.data.records import DetectionData
from detection.detector import Detector
from detection.evaluation.coco_map import coco_map
from detection.inference import detect_records
from detection.network import DetectionNetwork


class Validation:
    """Evaluates a network on a labelled part, and hands it on when it is the best so far.

    Args:
        data: The labelled part.
        wrap: Makes a detector of the network, without changing it.
        metric: Which COCO number decides, for example ``AP``.
        keep: Called with the network, the step and the numbers when they are the best so far.
        log: Called with the step and the numbers every time.
        best: Best metric of an earlier sitting.
    """

    def __init__(
        self,
        data: DetectionData,
        *,
        wrap: Callable[[DetectionNetwork], Detector],
        metric: str,
        keep: Callable[[DetectionNetwork, int, Mapping[str, Any]], None],
        log: Callable[[int, Mapping[str, Any]], None],
        best: float | None = None,
    ) -> None:
        self.data = data
        self.wrap = wrap
        self.metric = metric
        self.keep = keep
        self.log = log
        self.best = best

    def __call__(self, network: DetectionNetwork, step: int) -> None:
        """Evaluates, tells, and keeps the network if nothing before was better; of equals the longer trained.

        A metric that does not exist (no objects in the part) counts as 0.
        """
        answers = detect_records(self.wrap(network), self.data.images)
        numbers = coco_map(self.data, answers.detections).summary
        self.log(step, numbers)
        value = float(numbers[self.metric] or 0.0)
        if self.best is None or value >= self.best:
            self.best = value
            self.keep(network, step, numbers)

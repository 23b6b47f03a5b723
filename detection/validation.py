"""The validation during training: judges the averaged weights and keeps the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from torch import nn

from detection.data.records import DetectionData
from detection.detector import Detector
from detection.evaluation.validation_numbers import validation_numbers
from detection.inference import detect_records
from detection.processes import gather, share_of

Network = TypeVar("Network", bound=nn.Module)


class Standing:
    """How the validations went so far: the best of them, and for how long there was no better one.

    Args:
        patience: The run ends after this many validations in a row without a new best; None never ends it.
        kept: Metric of the model that has been saved already; None if there is none.
        earlier: Metrics of the validations of earlier sittings, oldest first; see ``hear``.

    Attributes:
        best: The best metric that was heard; None before the first.
        waited: Validations since then. One that is equal to the best is no new best.
    """

    def __init__(
        self, patience: int | None = None, *, kept: float | None = None, earlier: Iterable[float | None] = ()
    ) -> None:
        self.patience = patience
        self.kept = kept
        self.best: float | None = None
        self.waited = 0
        for value in earlier:
            self._count(_as_number(value))

    def hear(self, value: float | None) -> bool:
        """Takes note of a validation; tells whether its model is to be kept.

        It is if none before was better; of equals, the longer trained. A metric that does not exist (no objects in
        the part) or is no number counts as 0.
        """
        value = _as_number(value)
        self._count(value)
        if self.kept is not None and value < self.kept:
            return False
        self.kept = value
        return True

    def _count(self, value: float) -> None:
        if self.best is None or value > self.best:
            self.best, self.waited = value, 0
        else:
            self.waited += 1

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at an end."""
        return self.patience is not None and self.waited >= self.patience


def _as_number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


class Validation(Generic[Network]):
    """Evaluates a network on a labelled part, and hands it on when it is the best so far.

    Args:
        data: The labelled part.
        wrap: Makes a detector of the network, without changing it.
        metric: Which of ``validation_numbers`` decides, for example ``AP``.
        keep: Called with the network, the step and the numbers when they are the best so far.
        log: Called with the same every time.
        standing: How the validations of earlier sittings went.

    Attributes:
        failures: File name -> why it could not be read at the last validation; counted as an image without detections.
    """

    def __init__(
        self,
        data: DetectionData,
        *,
        wrap: Callable[[Network], Detector],
        metric: str,
        keep: Callable[[Network, int, Mapping[str, float | None]], None],
        log: Callable[[Network, int, Mapping[str, float | None]], None],
        standing: Standing | None = None,
    ) -> None:
        self.data = data
        self.wrap = wrap
        self.metric = metric
        self.keep = keep
        self.log = log
        self.standing = standing or Standing()
        self.failures: dict[str, str] = {}

    def __call__(self, network: Network, step: int) -> None:
        """Evaluates, tells, and keeps the network if ``Standing.hear`` says so; each process looks at its part."""
        answers = gather(detect_records(self.wrap(network), share_of(self.data.images)))
        detections = {image: found for part in answers for image, found in part.detections.items()}
        self.failures = {name: reason for part in answers for name, reason in part.failures.items()}
        numbers = validation_numbers(self.data, detections)
        if self.standing.hear(numbers[self.metric]):
            self.keep(network, step, numbers)
        self.log(network, step, numbers)

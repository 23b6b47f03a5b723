"""Where proposals come from: a trained model, or a method known by its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from detection.build import load_detector
from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.errors import InputError
from detection.preprocess import Image
from detection.proposing import FirstStage
from proposals.structures import Proposals


@dataclass(frozen=True)
class ProposalSource:
    """What makes proposals of an image.

    Attributes:
        propose: (H, W, 3) uint8 RGB -> proposals in its pixels, best first.
        timed: What the measured time of an image includes, in words.
        settings: What the proposals depend on, for the report.
        priors: Height and width of an image -> (K, 4) priors in its pixels; None for a method without priors.
    """

    propose: Callable[[Image], Proposals]
    timed: str
    settings: Mapping[str, str]
    priors: Callable[[tuple[int, int]], Tensor] | None = None


METHODS: dict[str, Callable[[int], ProposalSource]] = {}
"""Methods without a trained model, by name: most proposals of an image -> the source."""


def open_source(name: str, *, max_proposals: int, device: str) -> ProposalSource:
    """The source that a user means: a name of ``METHODS``, else the model file or run folder of that path.

    Raises:
        InputError: If it is neither, or the model cannot be loaded.
    """
    if name in METHODS:
        return METHODS[name](max_proposals)
    if not Path(name).exists():
        known = f", or one of {', '.join(METHODS)}" if METHODS else ""
        raise InputError(f"{name}: no such model; give model.safetensors of a run or its folder{known}")
    return _model_source(Path(name), max_proposals=max_proposals, device=device)


def _model_source(path: Path, *, max_proposals: int, device: str) -> ProposalSource:
    """The first stage of a trained model."""
    detector = load_detector(path, device=device)
    stage = FirstStage(detector, max_proposals=max_proposals)
    settings = {
        "proposals an image": f"at most {max_proposals}, before any is classified",
        "NMS IoU": f"{stage.settings.nms_iou_threshold:g}",
        "input": f"longer side {detector.longest_side} pixels",
        "device": f"{detector.device}, {str(detector.precision).removeprefix('torch.')}",
    }
    timed = (
        "one image at a time: scaling it, backbone, pyramid, MultiBox head, decoding and suppression of all priors; "
        "not reading the file, not classifying regions"
    )
    return ProposalSource(stage.propose, timed, settings, stage.priors)


def proposals_of(
    source: ProposalSource,
    records: Sequence[ImageRecord],
    *,
    failed: Callable[[ImageRecord, InputError], None],
    heard: Callable[[], None] | None = None,
) -> Iterator[tuple[ImageRecord, Proposals, float]]:
    """Makes the proposals of every image, one image at a time.

    The first image is done once before, untimed: on most devices the first call is slower than all others.

    Args:
        source: What makes them.
        records: The images.
        failed: Told of each image that cannot be read; it is passed over.
        heard: Called after each image, for progress.

    Yields:
        The image, its proposals, and the seconds that ``source.propose`` took.
    """
    is_warm = False
    for record in records:
        try:
            image = read_image(record.path)
        except InputError as error:
            failed(record, error)
        else:
            if not is_warm:
                source.propose(image)
                is_warm = True
            started = time.perf_counter()
            proposals = source.propose(image)
            yield record, proposals, time.perf_counter() - started
        if heard is not None:
            heard()

"""Where proposals come from: a trained model, or a method known by its name."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from detection.build import ENTRY_MULTIBOX, ENTRY_SUPERPIXEL_SCALE, load_detector
from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.device import precision_name
from detection.errors import InputError
from detection.preprocess import Image
from detection.proposing import FirstStage
from detection.regions import SelectiveSearch
from proposals.selective_search import FAST, QUALITY, SINGLE, SelectiveSearchSettings
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


@dataclass(frozen=True)
class SourceOptions:
    """What the user asks of a source.

    Attributes:
        max_proposals: Proposals of an image at most.
        superpixel_scale: Multiplies the size of selective search's superpixels.
        model: The MultiBox beside selective search, for ``combined``.
        device: Where to compute.
    """

    max_proposals: int
    superpixel_scale: float | None = None
    model: Path | None = None
    device: str = "auto"


def _selective_search(name: str, settings: SelectiveSearchSettings) -> Callable[[SourceOptions], ProposalSource]:
    def open_it(options: SourceOptions) -> ProposalSource:
        scale = options.superpixel_scale or 1.0
        search = SelectiveSearch(replace(settings, superpixel_scale=scale), max_boxes=options.max_proposals)
        described = {
            "method": f"selective search, {name}",
            "superpixel scale": f"{scale:g}",
            "proposals an image": f"at most {options.max_proposals}",
        }
        return ProposalSource(search, "one image at a time: scaling, segmentation, grouping, ranking", described)

    return open_it


def _combined(options: SourceOptions) -> ProposalSource:
    """Selective search with doubled superpixels and the best boxes of a trained MultiBox."""
    if options.model is None:
        raise InputError("combined: name the model whose MultiBox is added with --model RUN/model.safetensors")
    detector = load_detector(options.model, device=options.device)
    if detector.network.multibox is None:
        raise InputError(f"{options.model}: has no MultiBox; give a model trained with proposals.method multibox")
    scale = options.superpixel_scale or ENTRY_SUPERPIXEL_SCALE
    detector.network.proposal_settings = replace(
        detector.network.proposal_settings, num_proposals=ENTRY_MULTIBOX, num_candidates=sys.maxsize
    )
    detector.regions = SelectiveSearch(replace(FAST, superpixel_scale=scale), max_boxes=options.max_proposals)
    described = {
        "method": f"selective search, fast, and the {ENTRY_MULTIBOX} best boxes of {options.model}",
        "superpixel scale": f"{scale:g}",
        "proposals an image": f"at most {options.max_proposals}",
    }
    stage = FirstStage(detector, max_proposals=options.max_proposals)
    return ProposalSource(stage.propose, "one image at a time: selective search, backbone and MultiBox", described)


METHODS: dict[str, Callable[[SourceOptions], ProposalSource]] = {
    "selective-search": _selective_search("fast", FAST),
    "selective-search-single": _selective_search("single", SINGLE),
    "selective-search-quality": _selective_search("quality", QUALITY),
    "combined": _combined,
}
"""Methods that are known by a name."""


def open_source(name: str, options: SourceOptions) -> ProposalSource:
    """The source that a user means: a name of ``METHODS``, else the model file or run folder of that path.

    Raises:
        InputError: If it is neither, or the model cannot be loaded.
    """
    if options.model is not None and name != "combined":
        raise InputError(f"--model {options.model}: only `combined` adds a model's boxes; leave it out with {name}")
    if name in METHODS:
        return METHODS[name](options)
    if not Path(name).exists():
        raise InputError(
            f"{name}: no such model; give model.safetensors of a run or its folder, or one of {', '.join(METHODS)}"
        )
    return _model_source(Path(name), options)


def _model_source(path: Path, options: SourceOptions) -> ProposalSource:
    """The first stage of a trained model."""
    if options.superpixel_scale is not None:
        raise InputError(f"--superpixel-scale: {path} has its own; give it with a method")
    detector = load_detector(path, device=options.device)
    stage = FirstStage(detector, max_proposals=options.max_proposals)
    settings = {
        "proposals an image": f"at most {options.max_proposals}, before any is classified",
        **({"NMS IoU": f"{stage.settings.nms_iou_threshold:g}"} if stage.has_priors else {}),
        "input": f"longer side {detector.longest_side} pixels",
        "device": f"{detector.device}, {precision_name(detector.precision)}",
    }
    timed = (
        "one image at a time: scaling it, backbone, pyramid, MultiBox head, decoding and suppression of all priors; "
        "not reading the file, not classifying regions"
    )
    if detector.regions is not None:
        timed = "one image at a time: " + ("selective search, backbone and MultiBox" if stage.has_priors else "search")
    return ProposalSource(stage.propose, timed, settings, stage.priors if stage.has_priors else None)


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

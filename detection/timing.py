"""How long each stage of a detector takes. Legend: T images timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

from detection.detector import Detector
from detection.ensemble import mean_offsets, mean_probabilities
from detection.errors import InputError
from detection.network import DetectionNetwork
from detection.postprocess import select_detections
from detection.preprocess import Image, padded_size, resized_size, scale_and_stack
from proposals.multibox import InputSizes
from proposals.structures import Proposals

Result = TypeVar("Result")

STAGES = ("scale", "backbone", "pyramid", "multibox", "regions", "classifier", "select")
"""In the order of an image's way; ``multibox`` is head, decoding, suppression, and ``regions`` another method."""


@torch.inference_mode()
def time_stages(detector: Detector, images: Iterable[Image]) -> dict[str, list[float]]:
    """Takes images through the detector one at a time and stops the clock after each stage.

    Args:
        detector: A prepared one.
        images: (H, W, 3) uint8 RGB; each size is seen once before it is timed, since weights are packed for it.

    Returns:
        Stage -> T seconds. A stage that the detector has not got takes next to none.

    Raises:
        InputError: If the detector is of the crop form, which has other stages.
    """
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    seen: set[tuple[int, int]] = set()
    for image in images:
        size_hw = resized_size((image.shape[0], image.shape[1]), detector.longest_side)
        if size_hw not in seen:
            seen.add(size_hw)
            _time_one(detector, image, size_hw, {stage: [] for stage in STAGES})
        _time_one(detector, image, size_hw, seconds)
    return seconds


def _time_one(detector: Detector, image: Image, size_hw: tuple[int, int], seconds: dict[str, list[float]]) -> None:
    network = detector.network
    if not isinstance(network, DetectionNetwork):
        raise InputError(
            "the stages of classifier.form crop are not timed; `multibox detect` tells the time of an image"
        )

    def timed(stage: str, work: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = work()
        if detector.device.type == "cuda":
            torch.cuda.synchronize()
        seconds[stage].append(time.perf_counter() - started)
        return result

    sizes = InputSizes(padded_size(size_hw), [size_hw])
    batch = timed("scale", lambda: scale_and_stack([image], [size_hw]).to(detector.device))
    dtype = network.backbone.conv1.conv.weight.dtype
    features = timed("backbone", lambda: network.backbone.features(network.normalize(batch, dtype)))
    pyramid = timed("pyramid", lambda: network.pyramid(features))
    given = timed("regions", lambda: None if detector.regions is None else [detector.given(image, size_hw)])

    def propose() -> list[Proposals]:
        output = None if network.multibox is None else network.multibox(pyramid, sizes)
        return network.propose(output, sizes, given, network.proposal_settings)

    (proposals,) = timed("multibox", propose)
    judged = timed("classifier", lambda: network.classifier(pyramid, [proposals.boxes]))
    offsets = None if judged.offsets is None else mean_offsets(judged.offsets)
    timed(
        "select",
        lambda: select_detections(proposals, mean_probabilities(judged.logits), offsets, network.detection_settings),
    )

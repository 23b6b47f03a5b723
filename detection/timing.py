"""What each stage of a detector takes: time, and multiply-adds. Legend: T images timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from detection.detector import Detector
from detection.errors import InputError
from detection.network import DetectionNetwork, conclude
from detection.preprocess import Image, padded_size, resized_size, scale_and_stack
from proposals.multibox import InputSizes
from proposals.structures import Proposals

Result = TypeVar("Result")

STAGES = ("scale", "backbone", "pyramid", "multibox", "regions", "classifier", "select")
"""In the order of an image's way; ``multibox`` is head, decoding, suppression, and ``regions`` another method."""


class Watch(Protocol):
    """Calls the work of a stage, and notes what it takes."""

    def __call__(self, stage: str, work: Callable[[], Result]) -> Result:
        """What the work answers."""


def wait_for(device: torch.device) -> None:
    """Waits until the device has done its work: a GPU returns before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@torch.inference_mode()
def time_stages(detector: Detector, images: Iterable[Image]) -> dict[str, list[float]]:
    """Takes images through the detector one at a time and stops the clock after each stage.

    Args:
        detector: A prepared one.
        images: (H, W, 3) uint8 RGB; each size is seen once before it is timed, since weights are packed for it.

    Returns:
        Stage -> T seconds. A stage that the detector does not have takes next to none.

    Raises:
        InputError: If the detector is of the crop form, which has other stages.
    """
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def timed(stage: str, work: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = work()
        wait_for(detector.device)
        seconds[stage].append(time.perf_counter() - started)
        return result

    seen: set[tuple[int, int]] = set()
    for image in images:
        size_hw = resized_size((image.shape[0], image.shape[1]), detector.longest_side)
        if size_hw not in seen:
            seen.add(size_hw)
            _pass_stages(detector, image, _merely)
        _pass_stages(detector, image, timed)
    return seconds


@torch.no_grad()
def count_multiply_adds(detector: Detector, image: Image) -> dict[str, int]:
    """Multiply-adds of the convolutions and matrix products of each stage, for one image.

    Args:
        detector: One that is not prepared: torch counts its own operators only.
        image: (H, W, 3) uint8 RGB.

    Raises:
        InputError: As ``time_stages``.
    """
    counts = dict.fromkeys(STAGES, 0)

    def counted(stage: str, work: Callable[[], Result]) -> Result:
        with FlopCounterMode(display=False) as counter:
            result = work()
        counts[stage] += counter.get_total_flops() // 2
        return result

    _pass_stages(detector, image, counted)
    return counts


def _merely(stage: str, work: Callable[[], Result]) -> Result:
    """Watches nothing."""
    return work()


def _pass_stages(detector: Detector, image: Image, watch: Watch) -> None:
    network = detector.network
    if not isinstance(network, DetectionNetwork):
        raise InputError(
            "the stages of classifier.form crop are not timed; `multibox detect` tells the time of an image"
        )
    size_hw = resized_size((image.shape[0], image.shape[1]), detector.longest_side)
    sizes = InputSizes(padded_size(size_hw), [size_hw])
    batch = watch("scale", lambda: scale_and_stack([image], [size_hw]).to(detector.device))
    dtype = network.backbone.conv1.conv.weight.dtype
    features = watch("backbone", lambda: network.backbone.features(network.normalize(batch, dtype)))
    pyramid = watch("pyramid", lambda: network.pyramid(features))
    given = watch("regions", lambda: None if detector.regions is None else [detector.given(image, size_hw)])

    def propose() -> list[Proposals]:
        output = None if network.multibox is None else network.multibox(pyramid, sizes)
        return network.propose(output, sizes, given, network.proposal_settings)

    (proposals,) = watch("multibox", propose)
    judgement = watch("classifier", lambda: network.judge_image(pyramid, proposals))
    watch("select", lambda: conclude(judgement, network.detection_settings))

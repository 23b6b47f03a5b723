"""Traces: the answer stays the same, and every detection is found among what the stages thought."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detection import inference
from detection.calibration import THRESHOLDS, Calibration, ScoreMap
from detection.data.discover import load_dataset
from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.detector import Detector
from detection.device import Compute
from detection.evaluation.class_boxes import pairwise_iou
from detection.evaluation.stage_blame import (
    BELOW_THRESHOLD,
    NO_PROPOSAL,
    POOR_BOX,
    SAID_BACKGROUND,
    WRONG_CLASS,
    examine,
)
from detection.inference import detect_records
from detection.network import conclude
from detection.tracing import Trace, trace_image
from proposals.multibox import ConvolutionalMultiBox
from tests.builders import random_pixels, toy_images, write_voc
from tests.detection.lively import liven_heads, settle_statistics
from tests.detection.tiny import CLASSES, tiny_network
from tests.evaluation.splits import make_record

MAPS = (ScoreMap(0.5, 1.0), ScoreMap(2.0, -1.0), ScoreMap(1.0, 0.3))


@pytest.fixture(scope="module")
def detector() -> Detector:
    """An untrained one that keeps detections of any score and removes those that repeat others."""
    torch.manual_seed(4)
    network = tiny_network()
    settle_statistics(network)
    network.detection_settings = replace(network.detection_settings, score_threshold=0.0, nms_sigma=None)
    with torch.no_grad():
        assert isinstance(network.multibox, ConvolutionalMultiBox)
        for projection in network.multibox.head.projections:
            torch.nn.init.normal_(projection.weight, std=0.02)
        liven_heads(network, logits=0.3, offsets=0.1)
    compute = Compute(torch.device("cpu"), torch.float32)
    return Detector(network, class_names=CLASSES, category_ids=(1, 2, 3), longest_side=96, compute=compute)


@pytest.mark.parametrize("nms_sigma", [None, 0.3])
@pytest.mark.parametrize("is_calibrated", [False, True])
@pytest.mark.parametrize("size_hw", [(96, 96), (140, 60), (1, 1)])
def test_every_detection_is_a_region_of_the_trace(
    detector: Detector,
    size_hw: tuple[int, int],
    is_calibrated: bool,
    nms_sigma: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thresholds = {kind: (0.5,) * 3 for kind in THRESHOLDS}
    monkeypatch.setattr(detector, "calibration", Calibration(MAPS, thresholds) if is_calibrated else None)
    settings = replace(detector.network.detection_settings, nms_sigma=nms_sigma)
    monkeypatch.setattr(detector.network, "detection_settings", settings)
    image = random_pixels(size_hw)
    expected = detector.answer([image])[0]
    answer, trace = trace_image(detector, image)
    assert torch.equal(answer.detections.boxes, expected.detections.boxes)
    assert torch.equal(answer.detections.scores, expected.detections.scores)
    assert torch.equal(answer.proposals.boxes, expected.proposals.boxes)
    assert trace.proposals.shape == (len(answer.proposals), 4)
    assert trace.probabilities.sum(axis=1) == pytest.approx(np.ones(len(trace.proposals)))
    assert len(trace.found) > 0
    lowered = 0
    for box, score, label in zip(trace.found, trace.found_scores, trace.found_labels, strict=True):
        change = score - trace.scores[:, label]
        if nms_sigma is not None:  # a score may fall, but never rise
            lowered += change[np.abs(trace.boxes[:, label] - box).max(axis=1) < 1e-3].max() < -1e-3
            change = change.clip(min=0)
        distance = np.abs(trace.boxes[:, label] - box).max(axis=1) + np.abs(change)
        assert distance.min() < 1e-3
    assert nms_sigma is None or size_hw == (1, 1) or lowered > 0


def test_scores_below_the_lowest_are_told_from_others(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    image = random_pixels((96, 96))
    usual = detector.network.detection_settings
    _, free = trace_image(detector, image)
    middle = float(np.median(free.scores))
    settings = replace(usual, score_threshold=middle, max_detections=2)
    monkeypatch.setattr(detector.network, "detection_settings", settings)
    _, cut = trace_image(detector, image)
    assert np.array_equal(cut.scores == -1, free.scores < np.float32(middle))
    assert not free.is_full
    assert cut.is_full


class OfAnotherDevice(torch.Tensor):
    """Stands for a tensor on a device without double precision, as MPS is one; ``cpu`` makes it a usual one."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls the function; refuses double precision as such a device does."""
        if func is torch.Tensor.cpu:
            with torch._C.DisableTorchFunctionSubclass():
                return args[0].as_subclass(torch.Tensor)
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, cls) and result.dtype == torch.float64:
            raise TypeError("this device has no float64")
        return result


def test_a_device_without_double_precision(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = Calibration(MAPS, {kind: (0.5,) * 3 for kind in THRESHOLDS})
    monkeypatch.setattr(detector, "calibration", calibration)
    image = random_pixels((96, 96))
    _, expected = trace_image(detector, image)
    answer, judgement = detector.judge(image)
    elsewhere = judgement._replace(probabilities=judgement.probabilities.as_subclass(OfAnotherDevice))
    with pytest.raises(TypeError, match="no float64"):
        elsewhere.probabilities.double()
    monkeypatch.setattr(detector, "judge", lambda _: (answer, elsewhere))
    _, trace = trace_image(detector, image)
    assert np.array_equal(trace.scores, expected.scores)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_score_is_what_would_be_found_without_suppression(detector: Detector, seed: int) -> None:
    """Objects where regions and noise lie; NMS and the limit switched off give every box that could find them."""
    rng = np.random.default_rng(seed)
    image = random_pixels((96, 96), seed)  # as large as the network's input: the same pixels
    _, judgement = detector.judge(image)
    free = replace(detector.network.detection_settings, nms_sigma=None, nms_iou_threshold=1.0, max_detections=10**6)
    every = conclude(judgement, free).detections
    _, trace = trace_image(detector, image)
    labels = rng.integers(0, 3, 14)
    regions = rng.integers(0, len(trace.proposals), 14)
    boxes = np.clip(trace.boxes[regions, labels] + rng.normal(0, 4, (14, 4)), 0, 96)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    record = make_record(1, list(zip(boxes.tolist(), labels.tolist(), strict=True)))
    examined = examine(trace, record)
    for row, label in enumerate(labels.tolist()):
        same = np.flatnonzero(labels == label)
        found = every.labels.numpy() == label
        iou = pairwise_iou(every.boxes.numpy()[found], record.boxes[same])
        could = (same[iou.argmax(axis=1)] == row) & (iou.max(axis=1) >= 0.5)
        best = every.scores.numpy()[found][could].max(initial=-1.0)
        assert examined.best_score[row] == pytest.approx(best, abs=1e-6)
    assert (examined.best_score >= 0).any()
    assert set(examined.otherwise.tolist()) <= {NO_PROPOSAL, SAID_BACKGROUND, WRONG_CLASS, POOR_BOX, BELOW_THRESHOLD}


@pytest.mark.parametrize("lanes", [1, 3])
def test_each_readable_image_is_traced_once(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    monkeypatch.setattr(inference, "count_lanes", lambda device: lanes)
    data = load_dataset(write_voc(tmp_path, {"test": toy_images(7)}), "test")
    data.images[0].path.write_bytes(b"")
    seen: list[int] = []

    def follow(record: ImageRecord, trace: Trace) -> None:
        seen.append(record.image_id)
        assert trace.boxes.shape == (len(trace.proposals), len(CLASSES), 4)
        np.testing.assert_array_equal(trace.proposals, detector.answer([read_image(record.path)])[0].proposals.boxes)

    answers = detect_records(detector, data.images, keep_proposals=5, traced=follow)
    assert seen == [record.image_id for record in data.images[1:]] == list(answers.detections)
    assert list(answers.failures) == [data.images[0].file_name]
    assert detect_records(detector, data.images).detections.keys() == answers.detections.keys()

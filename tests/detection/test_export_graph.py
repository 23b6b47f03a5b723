"""The graph that is exported answers what the detector answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from backbone.normalization import ColourNormalization
from configs.load import config_from_dict
from configs.schema import Config
from detection import build
from detection.calibration import Calibration, ScoreMap
from detection.detector import Detector
from detection.device import Compute
from detection.errors import InputError
from detection.export.graph import DetectionGraph, GraphDetections
from detection.export.pixels import prepare_pixels
from detection.network import DetectionNetwork
from detection.preprocess import PAD_COLOUR, PAD_MULTIPLE, Image, scale_and_stack
from detection.structures import Detections
from tests.builders import random_patches
from tests.crop.small import crop_config
from tests.detection.lively import detector_of, make_lively_network
from tests.detection.tiny import CLASSES, tiny_config


@pytest.fixture(scope="module")
def lively_network() -> DetectionNetwork:
    return make_lively_network()


@torch.inference_mode()
def answer(detector: Detector, images: Sequence[Image]) -> GraphDetections:
    found: GraphDetections = DetectionGraph(detector)(torch.from_numpy(np.stack(images)))
    return found


def of_image(found: GraphDetections, image: int, size_hw: tuple[int, int]) -> Detections:
    rows = found.image_index == image
    return Detections(found.boxes[rows], found.scores[rows], found.labels[rows], size_hw)


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.boxes, expected.boxes, atol=0.02, rtol=0)
    assert torch.equal(found.labels, expected.labels)


@pytest.mark.parametrize("size_hw", [(96, 96), (60, 96)])
def test_a_batch_gets_the_detectors_answers(size_hw: tuple[int, int], lively_network: DetectionNetwork) -> None:
    detector = detector_of(lively_network)
    images = [random_patches(size_hw, seed) for seed in range(3)]
    found = answer(detector, images)
    for number, expected in enumerate(detector.detect_images(images)):
        assert_same(of_image(found, number, size_hw), expected)


@pytest.mark.parametrize(
    "classifier", [{"contexts": [1.0, 1.5], "members": 3}, {"second_look": False}, {"box_regression": False}], ids=str
)
def test_other_forms_of_the_classifier(classifier: dict[str, object]) -> None:
    detector = detector_of(make_lively_network(**classifier))
    image = random_patches((80, 96))
    assert_same(of_image(answer(detector, [image]), 0, (80, 96)), detector.detect_image(image))


@pytest.mark.parametrize("size_hw", [(60, 100), (150, 90), (33, 95), (20, 7), (1, 1), (300, 200)])
def test_scaled_images_get_the_detectors_answers(size_hw: tuple[int, int], lively_network: DetectionNetwork) -> None:
    detector = detector_of(lively_network)
    images = [random_patches(size_hw, seed) for seed in range(2)]
    found = answer(detector, images)
    for number, expected in enumerate(detector.detect_images(images)):
        assert_same(of_image(found, number, size_hw), expected)


@pytest.mark.parametrize("nms_sigma", [None, 0.3])
@pytest.mark.parametrize("size_hw", [(96, 96), (60, 100)])
def test_repeats_are_suppressed_as_the_detector_does(
    size_hw: tuple[int, int], nms_sigma: float | None, lively_network: DetectionNetwork
) -> None:
    detector, settings = detector_of(lively_network), lively_network.detection_settings
    images = [random_patches(size_hw, seed) for seed in range(3)]
    try:
        lively_network.detection_settings = replace(settings, nms_sigma=nms_sigma)
        found = answer(detector, images)
        for number, expected in enumerate(detector.detect_images(images)):
            assert_same(of_image(found, number, size_hw), expected)
    finally:
        lively_network.detection_settings = settings


def test_scores_are_calibrated(lively_network: DetectionNetwork) -> None:
    detector = detector_of(lively_network)
    maps = (ScoreMap(2.0, 0.5), ScoreMap(0.5, -1.0), ScoreMap(1.0, 0.0))
    detector.calibration = Calibration(maps, {"best": (None,) * 3, "precise": (None,) * 3})
    image = random_patches((80, 96))
    assert_same(of_image(answer(detector, [image]), 0, (80, 96)), detector.detect_image(image))


def test_nothing_found_and_few_allowed(lively_network: DetectionNetwork) -> None:
    detector = detector_of(lively_network)
    settings = lively_network.detection_settings
    image = random_patches((80, 96))
    try:
        lively_network.detection_settings = replace(settings, score_threshold=1.0)
        assert [len(column) for column in answer(detector, [image, image])] == [0, 0, 0, 0]
        lively_network.detection_settings = replace(settings, max_detections=3)
        found = answer(detector, [image, image])
        assert torch.bincount(found.image_index).tolist() == [3, 3]
        assert_same(of_image(found, 1, (80, 96)), detector.detect_image(image))
    finally:
        lively_network.detection_settings = settings


@pytest.mark.parametrize("scaled_hw", [(40, 60), (30, 45), (21, 70), (200, 100), (100, 150), (64, 96)])
def test_pixels_are_prepared_as_for_the_detector(scaled_hw: tuple[int, int]) -> None:
    """Scaled as OpenCV does, padded with the same colour, normalised alike."""
    image, normalize = random_patches((100, 150)), ColourNormalization()
    mean, spread, padding = (
        colour.view(3, 1, 1) for colour in (normalize.mean, normalize.std, torch.tensor(PAD_COLOUR).float())
    )
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    prepared = prepare_pixels(pixels, torch.tensor(scaled_hw), PAD_MULTIPLE, mean, spread, padding)
    expected = normalize(scale_and_stack([image], [scaled_hw]), torch.float32)
    torch.testing.assert_close(prepared, expected, atol=0.01 / float(spread.min()), rtol=0)


def test_what_no_graph_can_hold_is_refused() -> None:
    for config, message in (
        (crop_config(), r"classifier\.form crop cannot be exported"),
        (_with_method("combined"), r"only models of proposals\.method multibox"),
        (_with_method("multibox-fc"), r"only models of proposals\.method multibox"),
    ):
        detector = Detector(
            build.build_whole_network(config, len(CLASSES)),
            class_names=CLASSES,
            category_ids=(1, 2, 3),
            longest_side=96,
            compute=Compute(torch.device("cpu"), torch.float32),
            regions=build.build_regions(config, None),
        )
        with pytest.raises(InputError, match=message):
            DetectionGraph(detector)


def _with_method(method: str) -> Config:
    values = tiny_config().model_dump(mode="json")
    values["proposals"]["method"] = method
    return config_from_dict(values, schema=Config)

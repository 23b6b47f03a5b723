"""Mirrored and enlarged views, and several detectors as one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection.detector import Detector
from detection.device import Compute
from detection.errors import InputError
from detection.fused_detectors import FusedDetectors
from detection.structures import Detections
from detection.tiling import TiledDetector
from detection.views import FlippedDetector, augmented_views, flip_detections
from tests.builders import random_pixels
from tests.detection.pixel_detector import Painted, PixelDetector, answer_of, assert_same, paint
from tests.detection.tiny import CLASSES, tiny_network

OBJECTS: list[Painted] = [(0, 200, (5, 10, 25, 20)), (1, 100, (30, 2, 70, 38)), (2, 50, (0, 0, 3, 40))]


def test_flips_map_back_exactly() -> None:
    image = paint((40, 70), OBJECTS)
    inner = PixelDetector()
    assert_same(FlippedDetector(inner).detect_images([image])[0], answer_of((40, 70), OBJECTS))


def test_the_inner_detector_sees_the_mirror_image() -> None:
    seen = []

    class Recorder(PixelDetector):
        def detect_images(self, images: list[np.ndarray]) -> list[Detections]:
            seen.extend(images)
            return super().detect_images(images)

    image = random_pixels((5, 7))
    FlippedDetector(Recorder()).detect_images([image])
    assert np.array_equal(seen[0], np.flip(image, axis=1))
    assert seen[0].flags["C_CONTIGUOUS"]


def test_flipping_boxes_by_hand_and_twice() -> None:
    found = Detections(torch.tensor([[1.0, 2.0, 5.0, 8.0]]), torch.tensor([0.5]), torch.tensor([1]), (20, 30))
    flipped = flip_detections(found)
    assert flipped.boxes.tolist() == [[25.0, 2.0, 29.0, 8.0]]  # 30 - 5, 30 - 1
    assert torch.equal(flip_detections(flipped).boxes, found.boxes)
    assert flip_detections(Detections.empty((20, 30))).boxes.shape == (0, 4)


@pytest.fixture(scope="module")
def tiny_detector() -> Detector:
    torch.manual_seed(0)
    network = tiny_network()
    network.detection_settings = type(network.detection_settings)(0.0, None, 0.5, 20, 0.5)
    return Detector(
        network,
        class_names=CLASSES,
        category_ids=(1, 7, 9),
        longest_side=96,
        compute=Compute(torch.device("cpu"), torch.float32),
    )


def test_views_are_two_sizes_and_their_mirror_images(tiny_detector: Detector) -> None:
    plain, mirrored, larger, larger_mirrored = augmented_views(tiny_detector)
    assert plain is tiny_detector
    assert isinstance(larger, Detector)
    assert larger.network is tiny_detector.network
    assert (tiny_detector.longest_side, larger.longest_side) == (96, 128)  # 96 * 1.25 = 120, padded to 128 anyway
    assert isinstance(mirrored, FlippedDetector)
    assert mirrored.inner is plain
    assert isinstance(larger_mirrored, FlippedDetector)
    assert larger_mirrored.inner is larger


def test_fused_views_of_a_network_are_valid_and_repeatable(tiny_detector: Detector) -> None:
    fused = FusedDetectors(augmented_views(tiny_detector), max_detections=20)
    images = [random_pixels((70, 90), 1), random_pixels((200, 150), 2)]
    first, second = fused.detect_images(images)
    assert 0 < len(first) <= 20
    for found, image in ((first, images[0]), (second, images[1])):
        height, width = image.shape[:2]
        assert found.image_size_hw == (height, width)
        assert (found.boxes >= 0).all()
        assert (found.boxes <= torch.tensor([width, height, width, height])).all()
        assert (found.scores[:-1] >= found.scores[1:]).all()
    again = fused.detect_images(images)
    assert torch.equal(again[0].boxes, first.boxes)
    assert torch.equal(again[1].scores, second.scores)


def test_tiles_of_a_network_are_the_same_alone_and_in_a_batch(tiny_detector: Detector) -> None:
    detector = TiledDetector(tiny_detector, tile=64)
    images = [random_pixels((70, 90), 1), random_pixels((40, 60), 2)]
    together = detector.detect_images(images)
    for image, batched in zip(images, together, strict=True):
        alone = detector.detect_images([image])[0]
        assert len(alone) > 0
        assert torch.equal(batched.boxes, alone.boxes)
        assert torch.equal(batched.labels, alone.labels)


def test_detectors_that_agree_are_one() -> None:
    image = paint((40, 70), OBJECTS)
    fused = FusedDetectors([PixelDetector(), FlippedDetector(PixelDetector()), PixelDetector()], max_detections=9)
    assert fused.class_names == ("red", "green", "blue")
    assert_same(fused.detect_images([image])[0], answer_of((40, 70), OBJECTS))
    few = FusedDetectors([PixelDetector()], max_detections=1)
    assert_same(few.detect_images([image])[0], answer_of((40, 70), OBJECTS[:1]))
    assert fused.detect_images([]) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (PixelDetector(class_names=("red", "grene", "blue")), "other classes .* number 2 is 'grene', .* it is 'green'"),
        (PixelDetector(class_names=("red", "green")), "other classes .* number 3 is missing, .* it is 'blue'"),
        (PixelDetector(class_names=("red", "blue", "green")), "other classes .* number 2 is 'blue', .* it is 'green'"),
        (PixelDetector(category_ids=(1, 2, 4)), "other category ids .* number 3 is 4, in model 1 it is 3"),
    ],
)
def test_other_classes_are_refused(other: PixelDetector, message: str) -> None:
    with pytest.raises(InputError, match=f"model 2 has {message}"):
        FusedDetectors([PixelDetector(), other], max_detections=9)


def test_no_detector_is_refused() -> None:
    with pytest.raises(InputError, match="one model or more"):
        FusedDetectors([], max_detections=9)

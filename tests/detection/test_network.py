"""The composed network and the detector around it."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.data.discover import load_dataset
from detection.data.image import read_image
from detection.data.records import DetectionData
from detection.detector import Detector
from detection.errors import InputError
from detection.inference import detect_records
from detection.network import DetectionNetwork
from detection.preprocess import (
    PAD_COLOUR,
    original_boxes,
    padded_size,
    resize,
    resize_exactly,
    resized_size,
    stack_images,
)
from detection.structures import Detections
from tests.builders import random_pixels, save_image, toy_images, write_voc
from tests.detection.lively import detector_of, make_lively_network
from tests.detection.tiny import CLASSES
from tests.orientations import SIDES, exif, stored_pixels


@pytest.fixture(scope="module")
def lively_network() -> DetectionNetwork:
    return make_lively_network()


def assert_valid_detections(found: Detections, size_hw: tuple[int, int], num_classes: int) -> None:
    height, width = size_hw
    assert found.image_size_hw == size_hw
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, [0, 2]] <= width + 1e-3).all()
    assert (found.boxes[:, [1, 3]] <= height + 1e-3).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.scores[:-1] >= found.scores[1:]).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert ((found.labels >= 0) & (found.labels < num_classes)).all()


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 5, 3)), np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8)],
    ids=["float", "grey", "with alpha", "empty"],
)
def test_what_is_no_image_is_refused(image: np.ndarray, lively_network: DetectionNetwork) -> None:
    good = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(InputError, match=r"image 1: expected \(H, W, 3\) uint8 RGB, got .*; read it with read_image"):
        detector_of(lively_network).detect_images([good, image])


SIZES = [(96, 80), (60, 100), (300, 200), (96, 80), (7, 90), (1, 1), (640, 33), (97, 96)]


def alone_and_together(detector: Detector) -> list[tuple[Detections, Detections]]:
    """What is found in images of mixed sizes one at a time, and in one batch."""
    images = [random_pixels(size, seed) for seed, size in enumerate(SIZES)]
    return list(zip(map(detector.detect_image, images), detector.detect_images(images), strict=True))


def test_an_image_alone_and_in_a_batch_gets_the_same_answer(
    lively_network: DetectionNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = replace(lively_network.detection_settings, nms_sigma=None)
    monkeypatch.setattr(lively_network, "detection_settings", hard)
    for size, (alone, batched) in zip(SIZES, alone_and_together(detector_of(lively_network)), strict=True):
        assert len(alone) > 0
        torch.testing.assert_close(batched.boxes, alone.boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(batched.scores, alone.scores, atol=1e-5, rtol=0)
        assert torch.equal(batched.labels, alone.labels)
        assert_valid_detections(alone, size, len(CLASSES))


def test_lowered_scores_are_the_same_alone_and_in_a_batch(lively_network: DetectionNetwork) -> None:
    """Overlaps differ in the last bits, and with them scores, so that nearly equal ones may change places."""
    for size, (alone, batched) in zip(SIZES, alone_and_together(detector_of(lively_network)), strict=True):
        assert len(batched) == len(alone) > 0
        box_distance = (batched.boxes[:, None] - alone.boxes[None]).abs().amax(dim=2)
        score_distance = (batched.scores[:, None] - alone.scores[None]).abs()
        is_same = (box_distance < 1e-3) & (score_distance < 1e-4) & (batched.labels[:, None] == alone.labels[None])
        assert is_same.any(dim=0).all()
        assert is_same.any(dim=1).all()
        assert_valid_detections(alone, size, len(CLASSES))


def test_the_eight_orientations_of_a_picture_get_the_same_answer(
    lively_network: DetectionNetwork, tmp_path: Path
) -> None:
    upright = random_pixels((60, 100))
    answers = []
    for orientation in SIDES:
        path = save_image(tmp_path / f"{orientation}.png", stored_pixels(upright, orientation), exif=exif(orientation))
        answers.append(detector_of(lively_network).detect_image(read_image(path)))
    assert len(answers) == 8
    assert len(answers[0]) > 0
    for answer in answers[1:]:
        assert answer.image_size_hw == (60, 100)
        assert torch.equal(answer.boxes, answers[0].boxes)
        assert torch.equal(answer.scores, answers[0].scores)


def test_answer_holds_the_proposals_in_original_pixels(lively_network: DetectionNetwork) -> None:
    answer = detector_of(lively_network).answer([random_pixels((300, 200))])[0]
    assert answer.proposals.image_size_hw == (300, 200)
    assert answer.proposals.boxes[:, 3].max() > 96  # beyond the network's input: mapped back
    assert (answer.proposals.boxes <= torch.tensor([200.0, 300.0, 200.0, 300.0]) + 1e-3).all()


def test_preparing_keeps_the_answers(lively_network: DetectionNetwork) -> None:
    image = random_pixels((96, 96))
    before = detector_of(lively_network).detect_image(image)
    prepared = detector_of(copy.deepcopy(lively_network))
    prepared.prepare()
    after = prepared.detect_image(image)
    torch.testing.assert_close(after.boxes, before.boxes, atol=0.05, rtol=0)
    torch.testing.assert_close(after.scores, before.scores, atol=1e-4, rtol=0)


def test_one_pixel_image(lively_network: DetectionNetwork) -> None:
    assert_valid_detections(detector_of(lively_network).detect_image(random_pixels((1, 1))), (1, 1), len(CLASSES))


def test_detect_walks_a_folder_and_names_a_missing_one(lively_network: DetectionNetwork, tmp_path: Path) -> None:
    save_image(tmp_path / "b.png", random_pixels((20, 30)))
    save_image(tmp_path / "a.png", random_pixels((20, 30)))
    detector = detector_of(lively_network)
    assert [path.name for path, _ in detector.detect(tmp_path)] == ["a.png", "b.png"]
    with pytest.raises(InputError, match="no such file or folder"):
        list(detector.detect(tmp_path / "missing"))


def test_unreadable_image_is_told_and_does_not_end_the_run(lively_network: DetectionNetwork, tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"test": toy_images(3)})
    data: DetectionData = load_dataset(root, "test")
    data.images[0].path.write_bytes(data.images[0].path.read_bytes()[:100])
    answers = detect_records(detector_of(lively_network), data.images, keep_proposals=10)
    assert len(answers.detections) == 2
    assert list(answers.failures) == [data.images[0].file_name]


@pytest.mark.parametrize(
    ("size_hw", "resized", "padded"),
    [
        ((480, 640), (312, 416), (320, 416)),  # 480 * 416 / 640 = 312, rounded up to 320
        ((640, 480), (416, 312), (416, 320)),
        ((1, 1000), (1, 416), (32, 416)),  # 0.416 px would vanish: at least one
        ((32, 32), (416, 416), (416, 416)),
    ],
)
def test_sizes(size_hw: tuple[int, int], resized: tuple[int, int], padded: tuple[int, int]) -> None:
    assert resized_size(size_hw, 416) == resized
    assert padded_size(resized) == padded


def test_padding_is_the_mean_colour_right_and_below() -> None:
    batch = stack_images([random_pixels((33, 10)), random_pixels((5, 40))])
    assert batch.shape == (2, 3, 64, 64)
    assert np.array_equal(batch[0, :, :33, :10].permute(1, 2, 0).numpy(), random_pixels((33, 10)))
    assert batch[1, :, 5, 0].tolist() == list(PAD_COLOUR)
    assert batch[0, :, 0, 10].tolist() == list(PAD_COLOUR)


def test_boxes_map_back_exactly() -> None:
    boxes = torch.tensor([[0.0, 0.0, 416.0, 312.0], [104.0, 78.0, 208.0, 156.0]])
    expected = torch.tensor([[0.0, 0.0, 640.0, 480.0], [160.0, 120.0, 320.0, 240.0]])
    torch.testing.assert_close(original_boxes(boxes, (312, 416), (480, 640)), expected)


def test_resize_keeps_an_image_of_the_right_size() -> None:
    image = random_pixels((20, 30))
    assert resize(image, (20, 30)) is image
    assert resize(image, (10, 15)).shape == (10, 15, 3)


@pytest.mark.parametrize("size_hw", [(20, 30), (13, 20), (40, 60), (5, 8)])
def test_the_exact_resize_differs_by_rounding_only(size_hw: tuple[int, int]) -> None:
    image = random_pixels((20, 30))
    exact = resize_exactly(image, size_hw)
    assert exact.dtype == np.float32
    assert np.abs(exact - resize(image, size_hw)).max() <= 1  # bytes are scaled in fixed point, then rounded

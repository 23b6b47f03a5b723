"""The network of the crop form: the mean of its members, whatever the batches, and everything made around detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detection import build
from detection.checkpoint import ModelHeader, save_model
from detection.crop.network import CropNetwork, join_members, place_regions
from detection.detector import Detector
from detection.errors import InputError
from detection.network import InferenceSettings, conclude
from detection.preprocess import stack_images
from detection.proposing import FirstStage
from detection.timing import time_stages
from proposals.structures import Proposals
from tests.builders import random_boxes, random_pixels
from tests.crop.small import crop_config
from tests.detection.tiny import CLASSES
from tools.detectors import combine

SIZES = [(80, 96), (96, 64)]


def make_network(method: str = "multibox", *, members: int = 2, box_regression: bool = True) -> CropNetwork:
    """Untrained, but of members that disagree."""
    config = crop_config(method, members=members, box_regression=box_regression)
    network = build.build_whole_network(config, len(CLASSES)).eval()
    assert isinstance(network, CropNetwork)
    for number, member in enumerate(network.members):
        generator = torch.Generator().manual_seed(number)
        nn.init.normal_(member.logits.weight, std=0.2, generator=generator)
    if network.proposer is not None:
        network.proposer.multibox.prior_sizes.fill_(40.0)  # the placeholders are too small to propose anything
    return network


def given_boxes(boxes: list[list[float]], size_hw: tuple[int, int]) -> Proposals:
    return Proposals(torch.tensor(boxes).reshape(-1, 4), torch.linspace(1, 0.5, len(boxes)), size_hw)


@torch.inference_mode()
def test_the_score_is_the_mean_probability_of_the_members() -> None:
    network = make_network("selective-search")
    images = stack_images([random_pixels(size) for size in SIZES])
    given = [given_boxes([[5, 5, 40, 60], [20, 10, 90, 70]], SIZES[0]), given_boxes([[0, 0, 64, 96]], SIZES[1])]
    found = network.judge(images, SIZES, given)
    settings = InferenceSettings(network.proposal_settings, network.detection_settings)
    alone = []
    for member in network.members:
        one = CropNetwork(None, [member], shape=network.shape, batch=1, inference=settings)
        alone.append([judgement.probabilities for judgement in one.judge(images, SIZES, given)])
    for row, judgement in enumerate(found):
        assert judgement.offsets is not None
        assert judgement.offsets.shape == (len(given[row]), 3, 4)
        torch.testing.assert_close(judgement.probabilities.sum(dim=1), torch.ones(len(given[row])))
        torch.testing.assert_close(judgement.probabilities, (alone[0][row] + alone[1][row]) / 2, rtol=0, atol=1e-5)
        assert not torch.allclose(alone[0][row], alone[1][row], atol=1e-3)
    best = conclude(found[1], network.detection_settings)[1]
    probabilities = found[1].probabilities[0, :-1]
    torch.testing.assert_close(best.scores, probabilities.sort(descending=True).values)  # no objectness in it


@torch.inference_mode()
def test_an_image_alone_and_in_a_batch_gets_the_same_answer() -> None:
    """19 regions in batches of 16: the second one holds regions of the second image alone.

    In double precision: each batch sums in its own order, and how much that matters is the processor's.
    """
    network = make_network("selective-search").double()
    pixels = [random_pixels(size, seed=seed) for seed, size in enumerate(SIZES)]
    given = [
        given_boxes(random_boxes(np.random.default_rng(0), n, s).tolist(), s)
        for n, s in zip((9, 10), SIZES, strict=True)
    ]
    together = network(stack_images(pixels), SIZES, given)
    for image, size, boxes, answer in zip(pixels, SIZES, given, together, strict=True):
        (alone,) = network(stack_images([image]), [size], [boxes])
        assert len(answer.detections)
        torch.testing.assert_close(alone.detections.boxes, answer.detections.boxes, rtol=0, atol=1e-4)
        torch.testing.assert_close(alone.detections.scores, answer.detections.scores, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_images_of_one_size_do_not_touch_each_others_last_digits() -> None:
    network = make_network("selective-search")
    images = stack_images([random_pixels(SIZES[0], seed=seed) for seed in range(3)])
    rng = np.random.default_rng(0)
    given = [given_boxes(random_boxes(rng, count, SIZES[0]).tolist(), SIZES[0]) for count in (9, 3, 10)]
    together = network.judge(images, [SIZES[0]] * 3, given)
    for row, judged in enumerate(together):
        (alone,) = network.judge(images[row : row + 1], SIZES[:1], given[row : row + 1])
        assert torch.equal(judged.probabilities, alone.probabilities)
        assert judged.offsets is not None
        assert alone.offsets is not None
        assert torch.equal(judged.offsets, alone.offsets)


@torch.inference_mode()
@pytest.mark.parametrize("box_regression", [True, False])
def test_no_proposals_give_no_detections(box_regression: bool) -> None:
    network = make_network("selective-search", box_regression=box_regression)
    nothing = given_boxes([], SIZES[0])
    (answer,) = network(stack_images([random_pixels(SIZES[0])]), SIZES[:1], [nothing])
    assert len(answer.proposals) == len(answer.detections) == 0


def test_without_a_proposer_proposals_must_be_given() -> None:
    network = make_network("selective-search", members=1)
    assert network.multibox is None
    images = stack_images([random_pixels(SIZES[0])])
    with pytest.raises(ValueError, match="no MultiBox; give it proposals"):
        network(images, SIZES[:1])
    with pytest.raises(ValueError, match="no MultiBox and so no features"):
        network.extract(images)


def test_regions_know_their_image() -> None:
    boxes, rows = place_regions([torch.zeros(2, 4), torch.zeros(0, 4), torch.ones(1, 4)])
    assert rows.tolist() == [0, 0, 2]
    assert boxes[:, 0].tolist() == [0, 0, 1]


def test_networks_of_one_member_become_one_of_all() -> None:
    whole = make_network(members=3)
    tensors = whole.state_dict()
    assert {name.split(".")[0] for name in tensors} == {"proposer", "members"}
    parts = []
    for number in range(3):
        own = {
            k.replace(f"members.{number}.", "members.0."): v for k, v in tensors.items() if f"members.{number}." in k
        }
        parts.append({k: v for k, v in tensors.items() if k.startswith("proposer.")} | own)
    joined = join_members(parts)
    assert joined.keys() == tensors.keys()
    assert all(torch.equal(joined[name], tensor) for name, tensor in tensors.items())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    config = crop_config().model_dump(mode="json")
    save_model(path, make_network().state_dict(), ModelHeader(config, CLASSES, (1, 2, 3)))
    return path


def test_a_saved_model_answers_as_the_network_did(model: Path) -> None:
    detector = Detector.load(model, device="cpu", precision="float32")
    image = random_pixels((80, 96), seed=3)
    with torch.inference_mode():
        (expected,) = make_network()(stack_images([image]), [(80, 96)])
    found = detector.answer([image])[0]
    torch.testing.assert_close(found.proposals.boxes, expected.proposals.boxes, rtol=0, atol=1e-2)
    torch.testing.assert_close(found.detections.scores, expected.detections.scores, rtol=0, atol=1e-4)
    half = Detector.load(model, device="cpu", precision="bfloat16").detect_image(image)
    assert abs(float(half.scores[0] - found.detections.scores[0])) < 0.1


def test_views_and_tiles_and_first_stage_take_it_as_any_detector(model: Path) -> None:
    detector = Detector.load(model, device="cpu", precision="float32")
    image = random_pixels((80, 160), seed=3)
    (found,) = combine([detector], tile=96, tta=True).detect_images([image])
    assert len(found)
    assert found.boxes.numpy().max() <= 160
    assert np.isfinite(found.scores.numpy()).all()
    stage = FirstStage(detector, max_proposals=30)
    assert stage.has_priors
    assert 0 < len(stage.propose(image)) <= 30
    with pytest.raises(InputError, match=r"stages of classifier\.form crop are not timed"):
        time_stages(detector, [image])

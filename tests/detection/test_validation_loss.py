"""The losses of a validation part: the right ones, always the same, and without a trace on what is trained."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from configs.schema import Config
from detection import build, build_training
from detection import validation_loss as module
from detection.chance import StepChance
from detection.data.discover import load_dataset
from detection.data.image import read_image
from detection.data.records import DetectionData
from detection.network import DetectionNetwork
from detection.preprocess import resize, resized_size, stack_images
from detection.structures import Target
from detection.validation_loss import ValidationLoss
from tests.builders import ToyImage, ToyObject, toy_images, write_voc
from tests.detection.tiny import make_accelerator, tiny_config

CONFIG = tiny_config(batch_size=2)


@pytest.fixture
def data(tmp_path: Path) -> DetectionData:
    return load_dataset(write_voc(tmp_path / "toy", {"val": toy_images(5)}), "val")


def loss_of(data: DetectionData, config: Config = CONFIG) -> ValidationLoss[DetectionNetwork]:
    return ValidationLoss(
        partial(build_training.build_objective, config),
        build_training.build_plain_views(config, data.images),
        longest_side=config.input.longest_side,
        batch_size=config.train.batch_size,
        workers=0,
        accelerator=make_accelerator(),
    )


def network_of(data: DetectionData) -> DetectionNetwork:
    return build.build_network(CONFIG, len(data.class_names), build.fit_priors(CONFIG, data.images))


def test_it_is_the_mean_over_the_images_of_the_losses_of_training(tmp_path: Path) -> None:
    """Three images of one size in batches of two: the objective is asked by hand, with boxes scaled by hand."""
    images = [
        ToyImage(name, (40, 60), (ToyObject("cat", (5, 5, 30 + n, 30)), ToyObject("dog", (40, 8, 60, 20 + n))))
        for n, name in enumerate("abc")
    ]
    data = load_dataset(write_voc(tmp_path, {"val": images}), "val")
    network = network_of(data).eval()
    objective = build_training.build_objective(CONFIG, network).eval()
    expected = torch.zeros(4)
    for step, records in enumerate((data.images[:2], data.images[2:])):
        pixels = [resize(read_image(record.path), resized_size(record.size_hw, 96)) for record in records]
        targets = [
            Target(torch.tensor(r.boxes) * 96 / 60, torch.tensor(r.labels), torch.zeros(2, dtype=torch.bool), (64, 96))
            for r in records
        ]
        with torch.no_grad():
            losses = objective(stack_images(pixels), targets, None, StepChance(0, step))
        expected += torch.stack(list(losses.values())) * len(records) / 3
    found = loss_of(data)(network)
    assert list(found) == ["proposal_objectness", "proposal_box", "region_class", "region_box"]
    assert list(found.values()) == pytest.approx(expected.tolist(), rel=1e-5)
    assert min(found.values()) > 0


def test_nothing_is_learnt_from_it(data: DetectionData) -> None:
    network = network_of(data)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}  # with batch normalisation's
    chance = torch.get_rng_state()
    loss_of(data)(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), chance)


def test_two_validations_differ_by_their_weights_alone(data: DetectionData) -> None:
    network, loss = network_of(data), loss_of(data)
    first = loss(network)
    assert loss(network) == first
    with torch.no_grad():
        network.classifier.heads.logit_bias += 1.0 * torch.arange(len(data.class_names) + 1)
    assert loss(network)["region_class"] != first["region_class"]


def test_images_without_objects_have_finite_losses(tmp_path: Path) -> None:
    images = [ToyImage(name, (40, 60)) for name in "ab"]
    train = toy_images(3)
    root = write_voc(tmp_path, {"train": train, "val": images})
    names = load_dataset(root, "train").class_names
    data = load_dataset(root, "val", class_names=names)
    found = loss_of(data)(network_of(load_dataset(root, "train")))
    assert found["proposal_box"] == found["region_box"] == 0
    assert 0 < found["proposal_objectness"] < 100


def test_an_image_that_cannot_be_read_ends_nothing(data: DetectionData) -> None:
    data.images[2].path.write_bytes(b"no image")
    assert 0 < loss_of(data)(network_of(data))["region_class"] < 100


def test_a_large_part_lends_some_of_its_images(data: DetectionData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five images every second: the loss is that of these three alone."""
    network = network_of(data)
    monkeypatch.setattr(module, "MOST_IMAGES", 3)
    found = loss_of(data)(network)
    monkeypatch.undo()
    assert found == loss_of(replace(data, images=data.images[::2]))(network)
    assert found != loss_of(data)(network)

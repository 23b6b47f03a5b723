"""Every proposal method trains, detects, is saved and loaded; what is made of pixels is made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.load import config_from_dict
from configs.schema import Config
from detection import build, build_training
from detection import regions as regions_module
from detection.checkpoint import ModelHeader, save_model
from detection.data.discover import load_dataset
from detection.data.loader import SampleKey
from detection.data.records import DetectionData
from detection.engine import Trainer
from detection.network import DetectionNetwork
from detection.preprocess import padded_size, resized_size
from detection.regions import SelectiveSearch
from detection.schedule import StepBudget
from detection.training_state import StateFile
from detection.training_task import StepReport
from proposals.selective_search import SINGLE
from tests.builders import random_pixels, toy_images, write_voc
from tests.detection.tiny import CLASSES, make_accelerator, run_losses, tiny_config

SMALL = replace(SINGLE, width=None)  # without scaling the picture up first

METHODS = ("multibox", "multibox-fc", "selective-search", "combined", "combined-fc")


def method_config(method: str) -> Config:
    values = tiny_config().model_dump(mode="json")
    values["proposals"] |= {
        "method": method,
        "global_multibox": {"num_priors": 20, "hidden": 32},
        "selective_search": {"mode": "single", "max_boxes": 50},
    }
    values["postprocess"]["score_threshold"] = 0.0
    return config_from_dict(values, schema=Config)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DetectionData:
    root = tmp_path_factory.mktemp("data") / "toy"
    return load_dataset(write_voc(root, {"trainval": toy_images(2)}), "trainval")


def make_trainer(data: DetectionData, config: Config, folder: Path) -> Trainer[DetectionNetwork]:
    network = build.build_network(config, len(CLASSES), build.fit_priors(config, data.images))
    source = build_training.build_batches(config, data.images, build.build_regions(config, folder / "proposals"))
    return Trainer(
        build_training.build_task(config, network, source, torch.float32),
        settings=build_training.training_settings(config),
        budget=StepBudget(3),
        accelerator=make_accelerator(),
        state=StateFile(folder / "state.safetensors", {}),
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_detector_trains_and_detects_with_any_method(method: str, data: DetectionData, tmp_path: Path) -> None:
    config = method_config(method)
    trainer = make_trainer(data, config, tmp_path)
    losses = run_losses(trainer)
    assert len(losses) == 3
    assert all(np.isfinite(losses))
    path = tmp_path / "model.safetensors"
    header = ModelHeader(config.model_dump(mode="json"), CLASSES, (1, 2, 3))
    save_model(path, trainer.average.network.state_dict(), header)
    detector = build.load_detector(path, device="cpu", precision="float32")
    images = [random_pixels(size_hw, seed) for seed, size_hw in enumerate([(90, 120), (80, 96), (120, 80)])]
    sizes = [resized_size((image.shape[0], image.shape[1]), 96) for image in images]
    assert sizes[0] != sizes[1]
    assert padded_size(sizes[0]) == padded_size(sizes[1]) != padded_size(sizes[2])  # of two sizes in one batch
    together = detector.answer(images)
    for image, answer in zip(images, together, strict=True):
        alone = detector.answer([image])[0]
        assert len(answer.proposals)
        torch.testing.assert_close(alone.proposals.boxes, answer.proposals.boxes, rtol=0, atol=1e-3)
        torch.testing.assert_close(alone.detections.scores, answer.detections.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["multibox-fc", "combined"])
def test_any_method_goes_on_exactly(method: str, data: DetectionData, tmp_path: Path) -> None:
    config = method_config(method)
    whole = run_losses(make_trainer(data, config, tmp_path / "whole"))
    first = make_trainer(data, config, tmp_path / "parts")
    losses: list[float] = []

    def stop_after_one(report: StepReport) -> None:
        losses.append(sum(report.losses.values()))
        first.request_stop()

    first.fit(stop_after_one, None)
    torch.manual_seed(99)  # another process has another state of chance
    second = make_trainer(data, config, tmp_path / "parts")
    second.restore()
    assert losses + run_losses(second) == whole


def test_an_image_without_proposals_has_no_detections(data: DetectionData, tmp_path: Path) -> None:
    """A strip whose every box is too small for selective search; the prepared network judges no region at all."""
    config = method_config("selective-search")
    network = build.build_network(config, len(CLASSES)).eval()
    path = tmp_path / "model.safetensors"
    save_model(path, network.state_dict(), ModelHeader(config.model_dump(mode="json"), CLASSES, (1, 2, 3)))
    answer = build.load_detector(path, device="cpu").answer([random_pixels((3, 400), seed=5)])[0]
    assert len(answer.proposals) == len(answer.detections) == 0


@pytest.mark.parametrize("method", ["combined", "combined-fc"])
def test_combined_holds_the_boxes_of_both(method: str, data: DetectionData, tmp_path: Path) -> None:
    config = method_config(method)
    network = build.build_network(config, len(CLASSES), build.fit_priors(config, data.images)).eval()
    path = tmp_path / "model.safetensors"
    save_model(path, network.state_dict(), ModelHeader(config.model_dump(mode="json"), CLASSES, (1, 2, 3)))
    detector = build.load_detector(path, device="cpu", precision="float32")
    image = random_pixels((96, 96), seed=4)
    assert detector.regions is not None
    given = detector.regions(image)
    found = detector.answer([image])[0].proposals
    assert len(given)
    torch.testing.assert_close(found.boxes[-len(given) :], given.boxes, rtol=0, atol=1e-3)
    assert 0 < len(found) - len(given) <= config.proposals.num_detect


def test_given_proposals_pass_through_the_view_of_the_image(data: DetectionData) -> None:
    """An object's own box, given as a proposal, stays on the object in every view."""
    config = method_config("selective-search")
    boxes = torch.from_numpy(data.images[0].boxes[~data.images[0].ignore])

    def own_boxes(image: np.ndarray) -> regions_module.Proposals:
        return regions_module.Proposals(boxes, torch.ones(len(boxes)), (image.shape[0], image.shape[1]))

    views = build_training.build_batches(config, data.images, own_boxes).training_set
    counts = set()
    for seed in range(30):
        sample = views[SampleKey(0, seed, 96)]
        assert sample.given is not None
        clear = ~sample.target.ignore
        torch.testing.assert_close(sample.given.boxes, sample.target.boxes[clear])
        counts.add(len(sample.given))
    assert len(boxes) in counts  # some views show all of them


def test_a_search_is_kept_on_disk_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = random_pixels((64, 80), seed=3)
    first = SelectiveSearch(SMALL, max_boxes=30, cache=tmp_path)(image)

    def refuse(*arguments: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(regions_module, "selective_search", refuse)
    again = SelectiveSearch(SMALL, max_boxes=30, cache=tmp_path)(image)
    torch.testing.assert_close(again.boxes, first.boxes, rtol=0, atol=0)
    torch.testing.assert_close(again.scores, first.scores, rtol=0, atol=0)
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    for other in (changed, np.ascontiguousarray(image[:, :-1])):
        with pytest.raises(AssertionError, match="searched again"):
            SelectiveSearch(SMALL, max_boxes=30, cache=tmp_path)(other)


def test_a_damaged_file_of_the_cache_is_made_anew(tmp_path: Path) -> None:
    image = random_pixels((64, 80), seed=3)
    search = SelectiveSearch(SMALL, max_boxes=30, cache=tmp_path)
    first = search(image)
    (path,) = tmp_path.rglob("*.npz")
    for content in (b"", b"junk", path.read_bytes()[:100]):
        path.write_bytes(content)
        torch.testing.assert_close(search(image).boxes, first.boxes)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [path.name]  # no drafts left

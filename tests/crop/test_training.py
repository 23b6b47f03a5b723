"""Members are trained apart, learn, and go on exactly where they stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from detection import build, build_training
from detection.crop import build as crop
from detection.crop.classifier import CropClassifier
from detection.data.discover import load_dataset
from detection.data.records import DetectionData
from detection.detector import Detector
from detection.device import Compute
from detection.engine import Trainer
from detection.evaluation.coco_map import coco_map
from detection.inference import detect_records
from detection.preprocess import Image
from detection.schedule import StepBudget
from detection.training_state import StateFile
from detection.training_task import StepReport
from proposals.structures import Proposals
from tests.builders import CLASS_NAMES, ToyImage, ToyObject, random_pixels, save_image, toy_images, write_voc
from tests.crop.small import crop_config
from tests.detection.tiny import CLASSES, make_accelerator, run_losses


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DetectionData:
    root = tmp_path_factory.mktemp("data") / "toy"
    return load_dataset(write_voc(root, {"trainval": toy_images(3)}), "trainval")


def make_trainer(data: DetectionData, folder: Path, *, number: int = 1) -> Trainer[CropClassifier]:
    config = crop.member_config(crop_config(), number)
    of_proposer = crop.proposer_config(crop_config())
    assert of_proposer is not None
    proposer = build.build_network(of_proposer, len(CLASSES)).eval().requires_grad_(False)
    member = crop.build_member(config, len(CLASSES))
    source = build_training.build_batches(config, data.images)
    optimizer = build_training.build_optimizer(config, member, torch.float32)
    return Trainer(
        crop.build_task(config, member, proposer, source=source, optimizer=optimizer),
        settings=build_training.training_settings(config),
        budget=StepBudget(3),
        accelerator=make_accelerator(),
        state=StateFile(folder / "state.safetensors", {}),
    )


@pytest.mark.slow
def test_a_member_goes_on_exactly_and_another_one_differs(data: DetectionData, tmp_path: Path) -> None:
    whole = make_trainer(data, tmp_path / "whole")
    expected = run_losses(whole)
    assert all(np.isfinite(expected))
    first = make_trainer(data, tmp_path / "parts")
    losses: list[float] = []

    def stop_after_one(report: StepReport) -> None:
        losses.append(sum(report.losses.values()))
        first.request_stop()

    first.fit(stop_after_one, None)
    torch.manual_seed(99)  # another process has another state of chance
    second = make_trainer(data, tmp_path / "parts")
    second.restore()
    assert losses + run_losses(second) == expected
    pairs = zip(whole.average.network.parameters(), second.average.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert run_losses(make_trainer(data, tmp_path / "other", number=2)) != expected


def squares_everywhere(image: Image) -> Proposals:
    """Squares of 32 pixels, every 8 pixels."""
    height, width = image.shape[:2]
    corners = torch.cartesian_prod(torch.arange(0, width - 31, 8.0), torch.arange(0, height - 31, 8.0))
    return Proposals(torch.cat([corners, corners + 32], dim=1), torch.ones(len(corners)), (height, width))


def paint_squares(root: Path) -> DetectionData:
    """Two images with a square of each class, which has a colour of its own."""
    places = [[(0, 0), (48, 16), (8, 56)], [(64, 64), (0, 40), (56, 8)]]
    images = []
    for number, corners in enumerate(places):
        boxes = [(float(x), float(y), x + 32.0, y + 32.0) for x, y in corners]
        objects = tuple(ToyObject(name, box) for name, box in zip(CLASS_NAMES, boxes, strict=True))
        images.append(ToyImage(f"image{number}", (96, 96), objects))
    write_voc(root, {"train": images})
    for number, corners in enumerate(places):
        pixels = random_pixels((96, 96), seed=number) // 4 + 96
        for channel, (x, y) in enumerate(corners):
            pixels[y : y + 32, x : x + 32, channel] += 96
        save_image(root / f"JPEGImages/image{number}.jpg", pixels, quality=95)
    return load_dataset(root, "train")


@pytest.mark.slow
def test_a_member_learns_what_is_where(tmp_path: Path) -> None:
    data = paint_squares(tmp_path / "data")
    config = crop.member_config(crop_config("selective-search", box_regression=False, ema_decay=0.8), 1)
    member = crop.build_member(config, len(data.class_names))
    build_training.load_start_weights(config, member)
    source = build_training.build_batches(config, data.images, squares_everywhere)
    optimizer = build_training.build_optimizer(config, member, torch.float32)
    trainer = Trainer(
        crop.build_task(config, member, None, source=source, optimizer=optimizer),
        settings=build_training.training_settings(config),
        budget=StepBudget(60),
        accelerator=make_accelerator(),
        state=StateFile(tmp_path / "state.safetensors", {}),
    )
    trainer.fit(lambda report: None, None)
    detector = Detector(
        crop.compose_network(config, None, [trainer.average.network]),
        class_names=data.class_names,
        category_ids=data.category_ids,
        longest_side=96,
        compute=Compute(torch.device("cpu"), torch.float32),
        regions=squares_everywhere,
    )
    answers = detect_records(detector, data.images)
    ap50 = coco_map(data, answers.detections).summary["AP50"]
    assert ap50 is not None
    assert ap50 >= 0.95

"""The GPU answers as the processor does. Left out where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from detection.build_training import build_objective
from detection.chance import StepChance
from detection.device import Compute
from detection.preprocess import stack_images
from tests.builders import random_pixels, toy_images, write_voc
from tests.detection.lively import detector_of, make_lively_network
from tests.detection.tiny import target_of, tiny_config
from tests.tools.running import run_main

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Full float32 in convolutions too, so that only the order of sums differs."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def test_detections_equal_those_of_the_processor() -> None:
    images = [random_pixels(size, seed) for seed, size in enumerate([(96, 96), (60, 96), (200, 150)])]
    on_gpu = detector_of(make_lively_network(), Compute(GPU, torch.float32)).detect_images(images)
    on_cpu = detector_of(make_lively_network()).detect_images(images)
    for found, expected in zip(on_gpu, on_cpu, strict=True):
        assert len(expected)
        assert len(found) == len(expected)
        assert torch.allclose(found.scores, expected.scores, atol=1e-4)
        assert found.boxes.device.type == "cpu"
        best = expected.scores > expected.scores.median()  # lower ones may change places
        assert torch.allclose(found.boxes[best], expected.boxes[best], atol=0.05)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_prepared_detector_answers_on_the_gpu(precision: torch.dtype) -> None:
    detector = detector_of(make_lively_network(), Compute(GPU, precision))
    plain = detector.detect_image(random_pixels((96, 96)))
    detector.prepare()
    fast = detector.detect_image(random_pixels((96, 96)))
    assert len(plain)
    assert abs(float(fast.scores[0] - plain.scores[0])) < (1e-4 if precision == torch.float32 else 0.1)


def test_losses_and_gradients_equal_those_of_the_processor() -> None:
    images = stack_images([random_pixels((96, 96), seed) for seed in range(2)])
    targets = [target_of([[8, 8, 60, 50], [40, 40, 90, 90]], [0, 2]), target_of([], [])]
    losses, norms = [], []
    for device in (torch.device("cpu"), GPU):
        objective = build_objective(tiny_config(), make_lively_network()).to(device).eval()
        values = objective(images.to(device), [target.to(device) for target in targets], None, StepChance(5, 0))
        torch.stack(list(values.values())).sum().backward()
        losses.append({name: float(value.detach()) for name, value in values.items()})
        norms.append(float(torch.stack([p.grad.norm() for p in objective.parameters() if p.grad is not None]).norm()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert norms[1] == pytest.approx(norms[0], rel=1e-2)


def test_trains_resumes_detects_and_evaluates(tmp_path: Path) -> None:
    data = write_voc(tmp_path / "toy", {"train": toy_images(5), "test": toy_images(3, seed=1)})
    run = tmp_path / "run"
    train = ("train", data, "--out", run, "--epochs", 2, "--set", "train.device=cuda", "--set", "input.longest_side=96")
    assert run_main(*train) == 0
    assert run_main(*train, "--resume") == 0
    model = run / "model.safetensors"
    assert run_main("detect", model, data, "--out", tmp_path / "found", "--device", "cuda") == 0
    assert run_main("evaluate", model, data, "--split", "test", "--out", tmp_path / "report", "--device", "cuda") == 0

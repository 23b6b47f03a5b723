"""Two processes train as one does on the whole batch, survive the loss of one, and judge every image once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from configs.load import dump_config
from detection import build_training
from detection.chance import StepChance
from detection.data.loader import BatchPlan, OwnPart
from detection.processes import ALONE, Place, first_and_any, gather, mean_of_all, pad_alike, place, share_of
from detection.synced_norm import SyncedBatchNorm, sync_batch_norms
from proposals.normalizer import normalizer
from proposals.structures import Proposals
from tests.builders import ToyImage, ToyObject, toy_images, write_voc
from tests.detection.tiny import target_of, tiny_config, tiny_network

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


def start(processes: int, *arguments: object) -> subprocess.Popen[str]:
    launch = LAUNCH if processes > 1 else ["-m"]
    command = [sys.executable, *launch, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    others = [image for n in range(3) for image in toy_images(7, prefix=f"other{n}-", seed=n)]
    return write_voc(tmp_path / "toy", {"train": toy_images(8), "val": others})


def write_config(path: Path, **train: Any) -> Path:
    path.write_text(dump_config(tiny_config(**train)), encoding="utf-8")
    return path


@pytest.mark.slow
def test_two_processes_train_as_one_does(data: Path, tmp_path: Path) -> None:
    """Equal batches of four: 20 losses, and the numbers of two validations on 21 images."""
    found = []
    for processes in (1, 2):
        result = tmp_path / f"{processes}.json"
        finish(start(processes, "tests.detection.precise_training", data, 4 // processes, result))
        found.append(json.loads(result.read_text(encoding="utf-8")))
    one, two = found
    assert len(one["losses"]) == 20
    np.testing.assert_allclose(two["losses"], one["losses"], atol=1e-5, rtol=0)
    assert len(one["numbers"]) == 2
    assert one["numbers"][-1]["AR100"] > 0  # or they would be equal whatever is gathered
    assert two["numbers"] == one["numbers"]
    assert [set(each) for each in one["validated"]] == [
        {"proposal_objectness", "proposal_box", "region_class", "region_box"}
    ] * 2
    for ours, theirs in zip(one["validated"], two["validated"], strict=True):
        assert theirs == pytest.approx(ours, abs=1e-5)


def rank_one(process: subprocess.Popen[str]) -> int:
    """The second of the processes that a launcher has started."""
    for folder in Path("/proc").iterdir():
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        if parent == str(process.pid) and b"RANK=1" in environment:
            return int(folder.name)
    raise AssertionError("no second process")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find the process")
def test_the_loss_of_a_process_ends_the_run_and_a_resume_goes_on(data: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "tiny.yaml", batch_size=2, epochs=20, checkpoint_seconds=1)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(start(2, "tools.train", data, "--out", whole, "--config", config))
    running = start(2, "tools.train", data, "--out", broken, "--config", config)
    deadline = time.monotonic() + 120
    while not (broken / "last/state.safetensors").is_file():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(rank_one(running), signal.SIGKILL)
    output, _ = running.communicate(timeout=120)
    assert running.returncode != 0, output
    assert not (broken / "model.safetensors").exists()
    assert "goes on at step" in finish(start(2, "tools.train", data, "--out", broken, "--config", config, "--resume"))
    steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == list(range(1, len(steps) + 1))  # written by one of them, each once
    one, other = load_file(whole / "model.safetensors"), load_file(broken / "model.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)

    running = start(1, "tools.train", data, "--out", broken, "--config", config, "--resume")
    output, _ = running.communicate(timeout=120)
    assert running.returncode == 2
    assert "images a step was 4, is 2" in output


def test_each_process_takes_its_part_of_every_batch() -> None:
    def plan() -> BatchPlan:
        return BatchPlan(np.ones(10), batch_size=6, seed=0, first_step=3, side_at=lambda step: 96)

    whole, parts = iter(plan()), [iter(OwnPart(plan(), Place(rank, 3))) for rank in range(3)]
    for _ in range(4):
        assert [key for part in parts for key in next(part)] == next(whole)


def test_an_image_has_the_same_chance_on_any_process() -> None:
    def draw(chance: StepChance, row: int) -> list[float]:
        return torch.rand(3, generator=chance.of_image(row)).tolist()

    alone = [draw(StepChance(5, 7), row) for row in range(4)]
    assert [draw(StepChance(5, 7, first_row=2), row) for row in range(2)] == alone[2:]
    others = [draw(StepChance(5, 8), 0), draw(StepChance(6, 7), 0), *alone]
    assert len({tuple(each) for each in others}) == 6


def test_alone_everything_is_as_without_others() -> None:
    assert place() == ALONE == (0, 1)
    assert first_and_any(0.25, True, torch.device("cpu")) == (0.25, True)
    assert gather("one") == ["one"]
    assert share_of([1, 2, 3]) == [1, 2, 3]
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert pad_alike(images) is images
    assert mean_of_all(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert normalizer(torch.tensor(0)).item() == 1
    assert normalizer(torch.tensor(7)).item() == 7


def test_synced_norms_take_the_places_of_the_plain_ones() -> None:
    network = tiny_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    sync_batch_norms(network)
    found = [name for name, module in network.named_modules() if isinstance(module, SyncedBatchNorm)]
    assert found == expected
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert network.state_dict().keys() == before.keys()
    assert not any(module.training for module in network.modules())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["multibox", "selective-search"])
def test_levels_to_which_no_region_of_a_process_belongs_stop_nobody(tmp_path: Path, method: str) -> None:
    """Small objects on every other image, which are pooled from stride 4, and large ones, which are not."""
    boxes = ((10, 10, 60, 60), (8, 8, 246, 246))
    images = [ToyImage(f"{n}", (256, 256), (ToyObject("cat", boxes[n % 2]),)) for n in range(8)]
    data = write_voc(tmp_path / "mixed", {"train": images})
    config = write_config(tmp_path / "tiny.yaml", batch_size=1, epochs=2)
    values = ("input.longest_side=256", f"proposals.method={method}", "train.low_resolution.fraction=0")
    searching = ("proposals.selective_search.mode=single", "proposals.selective_search.min_side=200")
    options = [f"--set={value}" for value in (*values, *(searching if method == "selective-search" else ()))]
    told = finish(start(2, "tools.train", data, "--out", tmp_path / "run", "--config", config, *options))
    assert "after 8 steps" in told
    assert "Traceback" not in told
    searched = len(list((tmp_path / "run/proposals").rglob("*.npz")))  # each by one of them, found by both
    assert searched == (8 if method == "selective-search" else 0)


def test_every_level_has_a_gradient_wherever_regions_lie() -> None:
    network = tiny_network().train()
    network.multibox = None
    objective = build_training.build_objective(tiny_config(), network)
    images = torch.zeros(1, 3, 96, 96, dtype=torch.uint8)
    target = target_of([[10, 10, 40, 40]], [1])
    given = [Proposals(target.boxes, torch.ones(1), (96, 96))]
    sum(objective(images, [target], given, StepChance(0, 0)).values()).backward()
    assert all(parameter.grad is not None for parameter in network.pyramid.parameters())

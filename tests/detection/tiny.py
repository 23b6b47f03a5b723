"""A detector small enough for tests: real parts, small inputs, few regions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from configs.load import config_from_dict
from configs.schema import Config
from detection import build, build_training
from detection.checkpoint import ModelHeader, save_model
from detection.data.records import ImageRecord
from detection.engine import Trainer
from detection.network import DetectionNetwork
from detection.schedule import StepBudget
from detection.structures import Target
from detection.training_state import StateFile
from detection.training_task import StepReport

CLASSES = ("cat", "dog", "owl")


def tiny_config(**train: object) -> Config:
    """Inputs of 96 pixels, two members, float32."""
    return config_from_dict(
        {
            "input": {"longest_side": 96},
            "pyramid": {"channels": 16},
            "proposals": {"candidates": 100, "num_train": 32, "num_detect": 20},
            "classifier": {"members": 2, "hidden": 32, "member_hidden": 16, "rois_per_image": 16},
            "train": {"batch_size": 2, "precision": "float32", "device": "cpu", **train},
        },
        schema=Config,
    )


def tiny_network(config: Config | None = None, num_classes: int = len(CLASSES)) -> DetectionNetwork:
    """An untrained network in evaluation mode."""
    return build.build_network(config or tiny_config(), num_classes).eval()


def save_tiny_model(
    path: Path,
    *,
    seed: int = 0,
    lowest_score: float | None = None,
    names: Sequence[str] = CLASSES,
    ids: Sequence[int] = (1, 2, 3),
    **header: Any,
) -> Path:
    """The file of an untrained model.

    Args:
        path: Of the file.
        seed: Of its weights.
        lowest_score: Of its detections; None is the usual.
        names: Its classes.
        ids: Theirs.
        header: More of ``ModelHeader``.
    """
    config = tiny_config(seed=seed)
    if lowest_score is not None:
        kept = config.postprocess.model_copy(update={"score_threshold": lowest_score})
        config = config.model_copy(update={"postprocess": kept})
    tensors = tiny_network(config, len(names)).state_dict()
    save_model(path, tensors, ModelHeader(config.model_dump(mode="json"), tuple(names), tuple(ids), **header))
    return path


def target_of(boxes: Sequence[Sequence[float]], labels: Sequence[int], ignore: Sequence[bool] | None = None) -> Target:
    """A target on a 96 x 96 image; no boxes give an empty one."""
    return Target(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(ignore if ignore is not None else [False] * len(boxes), dtype=torch.bool),
        (96, 96),
    )


def make_accelerator() -> Accelerator:
    """A fresh one: accelerate keeps its state from one to the next."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return Accelerator(cpu=True, mixed_precision="no")


def tiny_trainer(
    records: Sequence[ImageRecord], config: Config, *, steps: int, state_path: Path
) -> Trainer[DetectionNetwork]:
    """A trainer over a fixed number of steps on the CPU."""
    network = build.build_network(config, len(CLASSES), build.fit_priors(config, records))
    return Trainer(
        build_training.build_task(config, network, build_training.build_batches(config, records), torch.float32),
        settings=build_training.training_settings(config),
        budget=StepBudget(steps),
        accelerator=make_accelerator(),
        state=StateFile(state_path, {"budget": f"{steps} steps"}),
    )


def run_losses(trainer: Trainer) -> list[float]:
    """Trains to the end and returns the total loss of each step."""
    totals: list[float] = []

    def listen(report: StepReport) -> None:
        totals.append(sum(report.losses.values()))

    trainer.fit(listen, None)
    return totals

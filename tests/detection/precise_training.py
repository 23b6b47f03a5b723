"""A training in double precision, where several processes differ from one in nothing but rounding.

In single precision they part ways after a few steps, as any two orders of summing do: the last bits decide which of two
equal proposals survives, and from there on the regions differ. Run by ``test_processes``, alone or by torchrun:

    python -m tests.detection.precise_training DATA BATCH_SIZE RESULT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from detection import build, build_training
from detection.data.discover import load_dataset
from detection.detector import Detector
from detection.device import Compute
from detection.engine import Trainer
from detection.network import DetectionNetwork
from detection.processes import place
from detection.schedule import StepBudget
from detection.training_state import StateFile
from detection.validation import Validation
from detection.validation_loss import ValidationLoss
from proposals.multibox import ConvolutionalMultiBox
from tests.detection.tiny import tiny_config
from tools.following import start_accelerator


def precise(network: DetectionNetwork) -> DetectionNetwork:
    network.double()
    assert isinstance(network.multibox, ConvolutionalMultiBox)
    network.multibox.prior_sizes = network.multibox.prior_sizes.float()  # boxes are float32 everywhere
    return network


def main(root: Path, batch_size: int, result: Path) -> None:
    config = tiny_config(batch_size=batch_size)
    data, others = load_dataset(root, "train"), load_dataset(root, "val")
    accelerator, _ = start_accelerator("cpu", "float32")
    network = precise(build.build_network(config, len(data.class_names), build.fit_priors(config, data.images)))
    source = build_training.build_batches(config, data.images, None, place())
    trainer = Trainer(
        build_training.build_task(config, network, source, torch.float32),
        settings=build_training.training_settings(config),
        budget=StepBudget(20),
        accelerator=accelerator,
        state=StateFile(result.with_suffix(".safetensors"), {}),
    )
    found: dict[str, Any] = {"losses": [], "numbers": [], "validated": []}

    def wrap(network: DetectionNetwork) -> Detector:
        compute = Compute(torch.device("cpu"), torch.float32)
        names = data.class_names
        return Detector(network, class_names=names, category_ids=(1, 2, 3), longest_side=96, compute=compute)

    loss_of = ValidationLoss(
        partial(build_training.build_objective, config),
        build_training.build_plain_views(config, others.images[:20]),  # of 21 two processes leave one out
        longest_side=config.input.longest_side,
        batch_size=batch_size,
        workers=0,
        accelerator=accelerator,
    )

    def note(network: DetectionNetwork, step: int, numbers: Mapping[str, float | None]) -> None:
        found["numbers"].append(dict(numbers))
        found["validated"].append(loss_of(network))

    validation = Validation(others, wrap=wrap, metric="AP", keep=lambda network, step, numbers: None, log=note)
    trainer.fit(lambda report: found["losses"].append(list(report.losses.values())), validation, evaluate_every=5)
    if place().rank == 0:
        result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

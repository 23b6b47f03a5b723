"""A training run as a folder: built from a configuration, followed on the terminal, kept on disk."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.schema import Config
from detection import build
from detection.checkpoint import MODEL_NAME, ModelHeader, load_header, save_model
from detection.data.loader import steps_per_epoch
from detection.data.records import DetectionData
from detection.detector import Detector
from detection.engine import StateFile, StepReport, Trainer
from detection.network import DetectionNetwork
from detection.schedule import Budget, StepBudget, TimeBudget
from detection.training_log import TrainingLog
from detection.validation import Validation
from tools.progress import TrainingDisplay
from tools.run_folder import (
    check_run_folder,
    image_identity,
    start_accelerator,
    stopping_on_signals,
    tell_end,
    write_config,
)


class TrainingRun:
    """A run folder and how it is filled: ``model.safetensors``, ``last/``, ``config.yaml``, ``metrics.jsonl``.

    Args:
        out: The folder.
        config: The resolved configuration.
        training_data: What to learn from.
        validation_data: What decides which weights are best; None keeps the final ones.
        console: Where to tell how it goes.
    """

    def __init__(
        self,
        out: Path,
        config: Config,
        training_data: DetectionData,
        validation_data: DetectionData | None,
        *,
        console: Console,
    ) -> None:
        self.console = console
        self.out = out
        self.config = config
        self.training_data = training_data
        self.validation_data = validation_data
        self.accelerator, self.compute = start_accelerator(config.train.device, config.train.precision)

    @property
    def model_path(self) -> Path:
        """Where the model is written."""
        return self.out / MODEL_NAME

    def fit(self, minutes: float | None, *, resume: bool) -> None:
        """Trains, from the start or from where the folder's run stopped, and writes the model.

        Args:
            minutes: Wall-clock budget; None trains for ``train.epochs``.
            resume: Go on with the run that the folder holds; without one, start.

        Raises:
            InputError: If the folder holds a run and ``resume`` is not asked for, or its run is another one.
        """
        check_run_folder(self.out, self.config, resume=resume)
        trainer = self._build_trainer(minutes)
        if resume and trainer.state.path.is_file():
            trainer.restore()
            self.console.print(f"goes on at step {trainer.step}")
        write_config(self.out, self.config)
        log = TrainingLog(self.out, trainer.step)
        validation = self._validation(log, resume) if self.validation_data else None
        with TrainingDisplay(self.console) as display, closing(log):

            def listen(report: StepReport) -> None:
                display.show(report)
                log.write("train", report.step, {**report.losses, **report.course})

            with stopping_on_signals(trainer.request_stop):
                finished = trainer.fit(listen, validation, evaluate_every=self.config.train.evaluate_every)
        if validation is None:
            self._keep(trainer.average.network, trainer.step, {})
        self._tell_end(trainer, finished)

    def _build_trainer(self, minutes: float | None) -> Trainer[DetectionNetwork]:
        config, data = self.config, self.training_data
        network = build.build_network(config, len(data.class_names), build.fit_priors(config, data.images))
        build.load_start_weights(config, network)
        regions = build.build_regions(config, self.out / "proposals")
        steps = config.train.epochs * steps_per_epoch(len(data.images), config.train.batch_size)
        budget: Budget = TimeBudget(minutes * 60) if minutes else StepBudget(steps)
        precision = str(self.compute.precision).removeprefix("torch.")
        self.console.print(f"{self.accelerator.device}, {precision}, {budget.describe()}")
        identity = {
            "budget": budget.describe(),
            "split": data.split,
            "classes": ", ".join(data.class_names),
            "images": image_identity([record.file_name for record in data.images]),
        }
        return Trainer(
            build.build_task(config, network, data.images, regions),
            settings=build.training_settings(config),
            budget=budget,
            accelerator=self.accelerator,
            state=StateFile(self.out / "last" / "state.safetensors", identity),
        )

    def _validation(self, log: TrainingLog, resume: bool) -> Validation:
        assert self.validation_data is not None
        metric = self.config.train.best_metric
        best = None
        if resume and self.model_path.is_file():
            best = load_header(self.model_path).training["validation"].get(metric)
        return Validation(
            self.validation_data,
            wrap=self._wrap,
            metric=metric,
            keep=self._keep,
            log=lambda step, numbers: self._tell_validation(log, step, numbers),
            best=best,
        )

    def _wrap(self, network: DetectionNetwork) -> Detector:
        """The detector that users will run, made of a copy: the average goes on as it is."""
        detector = Detector(
            copy.deepcopy(network),
            class_names=self.training_data.class_names,
            category_ids=self.training_data.category_ids,
            longest_side=self.config.input.longest_side,
            compute=self.compute,
            regions=build.build_regions(self.config, self.out / "proposals"),
        )
        detector.prepare()
        return detector

    def _tell_validation(self, log: TrainingLog, step: int, numbers: Mapping[str, Any]) -> None:
        log.write("validation", step, numbers)
        shown = "  ".join(f"{name} {numbers[name]:.3f}" for name in ("AP", "AP50", "AP75") if numbers[name] is not None)
        self.console.print(f"validation after step {step}: {shown or 'no objects to find'}")

    def _keep(self, network: DetectionNetwork, step: int, numbers: Mapping[str, Any]) -> None:
        """Writes the model file."""
        header = ModelHeader(
            config=self.config.model_dump(mode="json"),
            class_names=self.training_data.class_names,
            category_ids=self.training_data.category_ids,
            training={
                "images": len(self.training_data.images),
                "split": self.training_data.split,
                "steps": step,
                "seed": self.config.train.seed,
                "validation": dict(numbers),
            },
        )
        save_model(self.model_path, network.state_dict(), header)

    def _tell_end(self, trainer: Trainer[DetectionNetwork], finished: bool) -> None:
        """Says what was left out and how the run ended."""
        for reason in trainer.unreadable.values():
            self.console.print(f"not learnt from: {reason}")
        if trainer.unreadable:
            self.console.print(f"{len(trainer.unreadable)} images could not be read; mend them and train anew")
        tell_end(self.console, self.model_path, trainer.step, finished=finished)

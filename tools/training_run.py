"""A training run as a folder: built from a configuration, followed on the terminal, kept on disk."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.schema import Config
from detection import build
from detection.checkpoint import MODEL_NAME, ModelHeader, load_header, save_model
from detection.data.image import read_image
from detection.data.records import DetectionData
from detection.detector import Detector
from detection.engine import StateFile, Trainer
from detection.errors import InputError
from detection.network import DetectionNetwork
from detection.regions import RegionSource
from detection.training_log import TrainingLog
from detection.validation import Validation
from tools.progress import counting
from tools.run_folder import (
    STATE_NAME,
    check_run_folder,
    choose_budget,
    follow,
    goes_on,
    image_identity,
    restore_state,
    start_accelerator,
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
        regions = self._search_regions()
        trainer = self._build_trainer(minutes, regions, fresh=not goes_on(self.out, resume=resume))
        restored = resume and restore_state(trainer, self.console)
        write_config(self.out, self.config)
        log = TrainingLog(self.out, trainer.step)
        validation = self._validation(log, restored) if self.validation_data else None
        finished = follow(trainer, self.console, log, validation, evaluate_every=self.config.train.evaluate_every)
        if validation is None:
            self._keep(trainer.average.network, trainer.step, {})
        self._tell_end(trainer, finished)

    def _search_regions(self) -> RegionSource | None:
        """Makes the proposals that are not the network's own, before the clock of the training starts."""
        regions = build.build_regions(self.config, self.out / "proposals")
        if regions is None:
            return None
        records = [*self.training_data.images, *(self.validation_data.images if self.validation_data else ())]
        with counting(self.console, len(records), "searching for proposals") as advance:
            for record in records:
                with suppress(InputError):  # a file that cannot be read is told when it is learnt from
                    regions(read_image(record.path))
                advance()
        return regions

    def _build_trainer(
        self, minutes: float | None, regions: RegionSource | None, *, fresh: bool
    ) -> Trainer[DetectionNetwork]:
        config, data = self.config, self.training_data
        network = build.build_network(config, len(data.class_names), build.fit_priors(config, data.images))
        if fresh:
            build.load_start_weights(config, network)
        source = build.build_batches(config, data.images, regions)
        steps = config.train.epochs * source.steps_per_epoch
        budget = choose_budget(self.console, self.compute, minutes=minutes, steps=steps)
        identity = {
            "budget": budget.describe(),
            "split": data.split,
            "classes": ", ".join(data.class_names),
            "images": image_identity([record.file_name for record in data.images]),
            "validation": self._validation_identity(),
        }
        return Trainer(
            build.build_task(config, network, source, self.compute.precision),
            settings=build.training_settings(config),
            budget=budget,
            accelerator=self.accelerator,
            state=StateFile(self.out / STATE_NAME, identity),
        )

    def _validation_identity(self) -> str:
        val = self.validation_data
        return "none" if val is None else f"{val.split}, {image_identity([r.file_name for r in val.images])}"

    def _validation(self, log: TrainingLog, restored: bool) -> Validation:
        assert self.validation_data is not None
        metric = self.config.train.best_metric
        best = None
        if restored and self.model_path.is_file():
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

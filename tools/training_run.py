"""A training run as a folder: built from a configuration, followed on the terminal, kept on disk."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import typer
from accelerate import Accelerator
from rich.console import Console

from configs.load import dump_config
from configs.schema import Config
from detection import build
from detection.atomic import atomic_path
from detection.checkpoint import ModelHeader, save_model
from detection.data.records import DetectionData
from detection.detector import Detector
from detection.device import choose_device, choose_precision
from detection.engine import StepReport, Trainer
from detection.errors import InputError
from detection.network import DetectionNetwork
from detection.schedule import Budget, StepBudget, TimeBudget
from detection.training_log import TrainingLog
from detection.validation import Validation
from tools.progress import TrainingDisplay

MODEL_NAME = "model.safetensors"
EXIT_STOPPED = 75  # EX_TEMPFAIL: a scheduler may run the command again


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into a call of ``stop``; a second Ctrl-C interrupts at once, as usual."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        self.device = choose_device(config.train.device)
        self.precision = choose_precision(self.device, config.train.precision)

    @property
    def state_path(self) -> Path:
        """Where the state for a resume lies."""
        return self.out / "last" / "state.safetensors"

    def fit(self, minutes: float | None, *, resume: bool) -> None:
        """Trains, from the start or from where the folder's run stopped, and writes the model.

        Args:
            minutes: Wall-clock budget; None trains for ``train.epochs``.
            resume: Go on with the run that the folder holds; without one, start.

        Raises:
            InputError: If the folder holds a run and ``resume`` is not asked for, or its run is another one.
        """
        self._open_folder(resume)
        trainer = self._build_trainer(minutes)
        if resume and self.state_path.is_file():
            trainer.restore()
            self.console.print(f"goes on at step {trainer.step}")
        log = TrainingLog(self.out, trainer.step)
        validation = self._validation(log, trainer.best_metric) if self.validation_data else None
        with TrainingDisplay(self.console) as display, closing(log):

            def listen(report: StepReport) -> None:
                display.show(report)
                log.write("train", report.step, {**report.losses, **report.course})

            with stopping_on_signals(trainer.request_stop):
                finished = trainer.fit(listen, validation, evaluate_every=self.config.train.evaluate_every)
        if not finished:
            self.console.print(f"stopped after step {trainer.step}; the same command with --resume goes on")
            raise typer.Exit(EXIT_STOPPED)
        if validation is None:
            self._keep(trainer.average.network, trainer.step, {})
        self.console.print(f"model: {self.out / MODEL_NAME} after {trainer.step} steps")

    def _open_folder(self, resume: bool) -> None:
        """Writes ``config.yaml``, or checks that the one there is the same."""
        path, text = self.out / "config.yaml", dump_config(self.config)
        if not path.exists():
            with atomic_path(path) as draft:
                draft.write_text(text, encoding="utf-8")
        elif not resume:
            raise InputError(f"{self.out}: holds a run already; add --resume to go on, or give another --out")
        elif path.read_text(encoding="utf-8") != text:
            raise InputError(f"{path}: the run was started with another configuration; resume with the same options")

    def _build_trainer(self, minutes: float | None) -> Trainer:
        config, images = self.config, self.training_data.images
        network = build.build_network(config, len(self.training_data.class_names), build.fit_priors(config, images))
        build.load_start_weights(config, network)
        mixed = "bf16" if self.precision == torch.bfloat16 else "no"
        accelerator = Accelerator(cpu=self.device.type == "cpu", mixed_precision=mixed)
        steps = config.train.epochs * max(1, -(-len(images) // config.train.batch_size))
        budget: Budget = TimeBudget(minutes * 60) if minutes else StepBudget(steps)
        self.console.print(f"{accelerator.device}, {str(self.precision).removeprefix('torch.')}, {budget.describe()}")
        return Trainer(
            build.build_objective(config, network),
            build.build_training_set(config, images),
            settings=build.training_settings(config),
            budget=budget,
            accelerator=accelerator,
            state_path=self.state_path,
        )

    def _validation(self, log: TrainingLog, best: float | None) -> Validation:
        assert self.validation_data is not None
        return Validation(
            self.validation_data,
            wrap=self._wrap,
            metric=self.config.train.best_metric,
            keep=self._keep,
            log=lambda step, numbers: self._tell(log, step, numbers),
            best=best,
        )

    def _wrap(self, network: DetectionNetwork) -> Detector:
        return Detector(
            network,
            class_names=self.training_data.class_names,
            category_ids=self.training_data.category_ids,
            longest_side=self.config.input.longest_side,
            device=self.device,
            precision=self.precision,
        )

    def _tell(self, log: TrainingLog, step: int, numbers: Mapping[str, Any]) -> None:
        log.write("validation", step, numbers)
        shown = "  ".join(f"{name} {numbers[name]:.3f}" for name in ("AP", "AP50", "AP75") if numbers[name] is not None)
        self.console.print(f"validation after step {step}: {shown}", highlight=False)

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
        save_model(self.out / MODEL_NAME, network.state_dict(), header)

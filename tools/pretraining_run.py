"""A classifier's training as a folder: packed images, followed on the terminal, kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from backbone.googlenet import GoogLeNet
from configs.pretraining import PretrainConfig
from detection.atomic import remove_drafts
from detection.checkpoint import MODEL_NAME
from detection.classification import build
from detection.classification.classifier import Classifier, ClassifierHeader, preprocessing_of, save_classifier
from detection.classification.packed import PackedImages
from detection.classification.protocol import measure_errors
from detection.engine import Trainer
from detection.training_log import TrainingLog
from detection.training_state import StateFile
from tools.following import choose_budget, follow, rehearse, restore_state, start_accelerator, tell_end
from tools.run_folder import STATE_NAME, check_run_folder, goes_on, identity_of, tell_changes, write_config


class PretrainingRun:
    """A run folder and how it is filled: ``model.safetensors``, ``last/``, ``config.yaml``, ``metrics.jsonl``.

    Args:
        out: The folder.
        config: The resolved configuration.
        train: What to learn from.
        val: What the averaged weights are judged on, with one crop an image; nothing is chosen by it.
        note: Terms of the training images, for the model's header.
        console: Where to tell how it goes.
    """

    def __init__(
        self, out: Path, config: PretrainConfig, train: PackedImages, val: PackedImages, *, note: str, console: Console
    ) -> None:
        self.out = out
        self.config = config
        self.train = train
        self.val = val
        self.note = note
        self.console = console
        self.accelerator, self.compute = start_accelerator(config.train.device, config.train.precision)

    def fit(self, minutes: float | None, *, resume: bool) -> None:
        """Trains, from the start or from where the folder's run stopped, and writes the model.

        Args:
            minutes: Wall-clock budget; None trains for ``train.epochs``.
            resume: Go on with the run that the folder holds; without one, start.

        Raises:
            InputError: If the folder holds a run and ``resume`` is not asked for, or its run is another one.
        """
        tell_changes(self.console, check_run_folder(self.out, self.config, resume=resume))
        trainer = self._build_trainer(minutes, fresh=not goes_on(self.out, resume=resume))
        if resume:
            restore_state(trainer, self.console)
        rehearse(trainer, self.console)
        log = TrainingLog(self.out, trainer.step)  # from here on the folder is this run's
        remove_drafts(self.out)
        write_config(self.out, self.config)

        def evaluate(network: GoogLeNet, step: int) -> None:
            numbers = self._measure(network)
            log.write("validation", step, numbers)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in numbers.items() if value is not None)
            self.console.print(f"validation after step {step}: {shown}")
            self._keep(network, trainer, numbers)

        ending = follow(trainer, self.console, log, evaluate, evaluate_every=self.config.train.evaluate_every)
        tell_end(self.console, self.out / MODEL_NAME, trainer, finished=ending.finished)

    def _build_trainer(self, minutes: float | None, *, fresh: bool) -> Trainer[GoogLeNet]:
        config = self.config
        network = build.build_network(config, len(self.train.class_names))
        if fresh:
            build.load_start_weights(config, network)
        network.to(self.accelerator.device)
        task = build.build_task(config, network, self.train, self.compute.precision)
        steps = config.train.epochs * task.source.steps_per_epoch
        budget = choose_budget(self.console, self.compute, minutes=minutes, steps=steps)
        identity = {
            "budget": budget.describe(),
            "classes": identity_of(self.train.class_names),
            "images": identity_of(self.train.names),
        }
        return Trainer(
            task,
            settings=build.training_settings(config),
            budget=budget,
            accelerator=self.accelerator,
            state=StateFile(self.out / STATE_NAME, identity),
        )

    def _measure(self, network: GoogLeNet) -> dict[str, float | None]:
        """Top-1 and top-5 accuracy on the validation part, with one crop an image."""
        side = build.last_side(self.config)
        classifier = Classifier(network, class_names=self.train.class_names, side=side, compute=self.compute)
        cell = measure_errors([classifier], self.val, side=side, num_crops=1)[0]
        top5 = None if cell.top5_error is None else 1 - cell.top5_error
        return {"top1": round(1 - cell.top1_error, 6), "top5": top5 if top5 is None else round(top5, 6)}

    def _keep(self, network: GoogLeNet, trainer: Trainer[GoogLeNet], numbers: dict[str, Any]) -> None:
        """Writes the model file."""
        training = {
            "images": len(self.train),
            "steps": trainer.step,
            "epochs": round(trainer.step / trainer.source.steps_per_epoch, 2),
            "seed": self.config.train.seed,
            "validation": numbers,
            "validation_images": len(self.val),
        }
        header = ClassifierHeader(
            variant=vars(network.variant),
            class_names=self.train.class_names,
            preprocessing=preprocessing_of(build.last_side(self.config)),
            recipe=self.config.model_dump(mode="json"),
            training=training,
            note=self.note,
        )
        save_classifier(self.out / MODEL_NAME, network, header)

"""A training run as a folder: built from a configuration, followed on the terminal, kept on disk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from rich.console import Console
from torch import nn

from configs.schema import Config
from detection import build, build_training
from detection.atomic import remove_drafts
from detection.checkpoint import MODEL_NAME, ModelHeader, load_header, save_model
from detection.crop.network import CropNetwork
from detection.data.loader import DetectionBatches, steps_per_epoch
from detection.data.records import DetectionData, ImageRecord
from detection.detector import Detector
from detection.device import Compute
from detection.engine import Trainer
from detection.errors import NonFiniteLossError
from detection.learnt_images import sketch_images
from detection.network import DetectionNetwork
from detection.processes import gather, place
from detection.regions import RegionSource
from detection.training_log import Log, NoLog, TrainingLog, refuse_running
from detection.training_state import StateFile
from detection.training_task import TrainingTask
from detection.validation import Standing, Validation
from detection.validation_loss import ValidationLoss
from tools.following import (
    choose_budget,
    follow,
    rehearse,
    restore_state,
    start_accelerator,
    tell_end,
    until_exhausted,
)
from tools.region_search import search_first
from tools.run_folder import (
    LAST_MODEL_NAME,
    STATE_NAME,
    check_run_folder,
    earlier_validations,
    goes_on,
    identity_of,
    labels_identity,
    tell_changes,
    write_config,
)

Network = TypeVar("Network", bound=nn.Module)


class RunData(NamedTuple):
    """What a run is given.

    Attributes:
        training: What to learn from.
        validation: What decides which weights are best; None keeps the final ones.
        note: Terms of the images, for the model's header.
    """

    training: DetectionData
    validation: DetectionData | None
    note: str = ""

    @property
    def images(self) -> list[ImageRecord]:
        """Those of both parts."""
        return [*self.training.images, *(self.validation.images if self.validation else ())]


@dataclass(frozen=True)
class Learner(Generic[Network]):
    """What a run trains.

    Attributes:
        network: Before the first step; what is averaged, judged and kept.
        make_task: Turns a source of batches into what is learnt from it, and how.
        make_objective: Network and losses as one module, of any such network.
        whole: The network that detects: the trained one, or one that it is a part of.
        memory_options: What takes less memory when it is lowered.
    """

    network: Network
    make_task: Callable[[DetectionBatches], TrainingTask[Network]]
    make_objective: Callable[[Network], nn.Module]
    whole: Callable[[Network], DetectionNetwork | CropNetwork]
    memory_options: tuple[str, ...] = build_training.MEMORY_OPTIONS


MakeLearner = Callable[[Compute, bool], Learner[Network]]
"""Where a run computes, and whether it needs start weights (one that goes on does not) -> what it trains."""


class TrainingRun(Generic[Network]):
    """A run folder and how it is filled: ``model.safetensors``, ``last/``, ``config.yaml``, ``metrics.jsonl``.

    Args:
        out: The folder; the caller has checked that it may be written to (``check_run_folder``).
        config: The resolved configuration.
        data: What to learn from.
        learn: Makes what is trained.
        regions: Proposals that are not the network's own; None where it needs none.
        console: Where to tell how it goes.
        on_start: Called once everything that could fail at once has been tried, before the first file is written.
    """

    def __init__(
        self,
        out: Path,
        config: Config,
        data: RunData,
        *,
        learn: MakeLearner[Network],
        regions: RegionSource | None,
        console: Console,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.console = console
        self.on_start = on_start
        self.out = out
        self.config = config
        self.training_data, self.validation_data, self.note = data
        self.learn = learn
        self.regions = regions
        self.accelerator, self.compute = start_accelerator(config.train.device, config.train.precision)

    @property
    def model_path(self) -> Path:
        """Where the model is written."""
        return self.out / MODEL_NAME

    def fit(self, minutes: float | None, *, resume: bool) -> bool:
        """Trains, from the start or from where the folder's run stopped, and writes the model.

        Args:
            minutes: Wall-clock budget; None trains for ``train.epochs``.
            resume: Go on with the run that the folder holds; without one, start.

        Returns:
            Whether a signal asked to stop when the run was done already: nothing should follow then.

        Raises:
            InputError: If the folder's run is another one.
        """
        if self.accelerator.is_main_process:
            refuse_running(self.out)  # each stage of the crop form has a folder of its own
        learner = self.learn(self.compute, not goes_on(self.out, resume=resume))
        trainer = self._build_trainer(learner, minutes)
        restored = resume and restore_state(trainer, self.console)
        rehearse(trainer, self.console)
        log = self._start_log(trainer.step)
        validation = self._validation(learner, log, restored) if self.validation_data else None
        evaluate = until_exhausted(validation, trainer) if validation else None
        try:
            ending = follow(trainer, self.console, log, evaluate, evaluate_every=self.config.train.evaluate_every)
        except NonFiniteLossError as error:
            if not trainer.step:
                raise
            kept = self._keep_last(learner.whole(trainer.average.network), trainer.step)
            self.accelerator.wait_for_everyone()  # a launcher stops all when the first has ended
            raise NonFiniteLossError(f"{error}. The averaged weights of before are a model: {kept}") from error
        self._keep_last(learner.whole(trainer.average.network), trainer.step)
        finished = ending.finished or (validation is not None and self._ended_early(validation.standing))
        self._tell_end(trainer, validation, finished)
        return ending.signalled

    def _start_log(self, done: int) -> Log:
        """Writes the configuration and opens the log; the other processes go on when they are there."""
        log: Log = NoLog()
        if self.accelerator.is_main_process:
            log = TrainingLog(self.out, done)  # from here on the folder is this run's
            remove_drafts(self.out)
            self.on_start()
            write_config(self.out, self.config)
        self.accelerator.wait_for_everyone()
        return log

    def _build_trainer(self, learner: Learner[Network], minutes: float | None) -> Trainer[Network]:
        config, data = self.config, self.training_data
        source = build_training.build_batches(config, data.images, self.regions, place())
        source = replace(source, by_time=minutes is not None and self.accelerator.device.type == "cpu")
        steps = config.train.epochs * source.steps_per_epoch
        budget = choose_budget(self.console, self.compute, minutes=minutes, steps=steps)
        identity = {
            "budget": budget.describe(),
            "images a step": str(source.step_size),
            "split": data.split,
            "classes": ", ".join(data.class_names),
            "images": identity_of([record.file_name for record in data.images]),
            "labels": labels_identity(data.images),
            "note": self.note,
            "validation": self._validation_identity(),
        }
        return Trainer(
            learner.make_task(source),
            settings=build_training.training_settings(config, learner.memory_options),
            budget=budget,
            accelerator=self.accelerator,
            state=StateFile(self.out / STATE_NAME, identity),
        )

    def _validation_identity(self) -> str:
        val = self.validation_data
        if val is None:
            return "none"
        return f"{val.split}, {identity_of([r.file_name for r in val.images])}, {labels_identity(val.images)}"

    def _validation(self, learner: Learner[Network], log: Log, restored: bool) -> Validation[Network]:
        assert self.validation_data is not None
        metric = self.config.train.best_metric
        best = None
        if restored and self.model_path.is_file():
            best = load_header(self.model_path).training["validation"].get(metric)
        standing = Standing(self.config.train.patience, kept=best, earlier=earlier_validations(self.out, metric))
        loss_of = self._validation_loss(learner, self.validation_data)
        return Validation(
            self.validation_data,
            wrap=lambda network: self._wrap(learner.whole(network)),
            metric=metric,
            keep=lambda network, step, numbers: self._keep(learner.whole(network), step, numbers),
            log=lambda network, step, numbers: self._tell_validation(log, step, numbers, loss_of(network)),
            standing=standing,
        )

    def _validation_loss(self, learner: Learner[Network], data: DetectionData) -> ValidationLoss[Network]:
        return ValidationLoss(
            learner.make_objective,
            build_training.build_plain_views(self.config, data.images, self.regions),
            longest_side=self.config.input.longest_side,
            batch_size=self.config.train.batch_size,
            workers=self.config.train.workers,
            accelerator=self.accelerator,
        )

    def _ended_early(self, standing: Standing) -> bool:
        """Whether patience ended the run; says so."""
        if standing.exhausted:
            self.console.print(
                f"ends early: no validation of the last {standing.waited} was better than the best, "
                f"{self.config.train.best_metric} {standing.best:.3f} (train.patience {standing.patience})"
            )
        return standing.exhausted

    def _wrap(self, network: DetectionNetwork | CropNetwork) -> Detector:
        """The detector that users will run, made of a copy: the average goes on as it is."""
        detector = Detector(
            copy.deepcopy(network),
            class_names=self.training_data.class_names,
            category_ids=self.training_data.category_ids,
            longest_side=self.config.input.longest_side,
            compute=self.compute,
            regions=self.regions,
        )
        detector.prepare()
        return detector

    def _tell_validation(
        self, log: Log, step: int, numbers: Mapping[str, float | None], losses: Mapping[str, float]
    ) -> None:
        log.write("validation", step, {**losses, **numbers})
        names = dict.fromkeys(("AP", "AP50", "AP75", self.config.train.best_metric))
        shown = [f"{name} {value:.3f}" for name in names if (value := numbers[name]) is not None]
        shown += [f"loss {sum(losses.values()):.3f}"] if losses else []
        self.console.print(f"validation after step {step}: {'  '.join(shown)}")

    def _keep_last(self, network: DetectionNetwork | CropNetwork, step: int) -> Path:
        """Writes the model of the last step: where a validation chooses the best, beside the state."""
        path = self.model_path if self.validation_data is None else self.out / LAST_MODEL_NAME
        self._keep(network, step, {}, path=path)
        return path

    def _keep(
        self,
        network: DetectionNetwork | CropNetwork,
        step: int,
        numbers: Mapping[str, float | None],
        *,
        path: Path | None = None,
    ) -> None:
        """Writes a model file, the run's own unless another is named; one process does it for all."""
        if not self.accelerator.is_main_process:
            return
        step_size = self.config.train.batch_size * place().processes
        header = ModelHeader(
            config=self.config.model_dump(mode="json"),
            class_names=self.training_data.class_names,
            category_ids=self.training_data.category_ids,
            training={
                "images": len(self.training_data.images),
                "split": self.training_data.split,
                "steps": step,
                "epochs": round(step / steps_per_epoch(len(self.training_data.images), step_size), 2),
                "seed": self.config.train.seed,
                "validation": dict(numbers),
                "validation_split": self.validation_data.split if self.validation_data else None,
                "image_digests": self._image_digests,
            },
            note=" ".join([ModelHeader.note, *([self.note] if self.note else []), *self._start_note]),
        )
        save_model(path or self.model_path, network.state_dict(), header)

    @property
    def _start_note(self) -> list[str]:
        """Names the weights that the backbone started from, since their data have terms of their own."""
        start = self.config.backbone.weights
        if start == "none":
            return []
        whose = {"shipped": "Tiny ImageNet (docs/model-card.md)", "torchvision": "ImageNet"}.get(
            start, Path(start).name
        )
        return [f"The backbone started from weights of {whose}."]

    @cached_property
    def _image_digests(self) -> str:
        """What the model's header says of the images; once, since every validation may write a model."""
        return sketch_images(record.path for record in self.training_data.images)

    def _tell_end(self, trainer: Trainer[Network], validation: Validation[Network] | None, finished: bool) -> None:
        """Says what was left out and how the run ended."""
        unreadable = {name: reason for part in gather(trainer.unreadable) for name, reason in part.items()}
        for reason in unreadable.values():
            self.console.print(f"not learnt from: {reason}")
        if unreadable:
            self.console.print(f"{len(unreadable)} images could not be read; mend them and train anew")
        kept = None
        if validation is not None:
            for reason in validation.failures.values():
                self.console.print(f"not validated on, counted as an image without detections: {reason}")
            self.console.print(f"validations took {trainer.evaluation_share:.0%} of the time")
            self.console.print(f"weights of the last step: {self.out / LAST_MODEL_NAME}")
        if validation is not None and self.model_path.is_file():
            kept = load_header(self.model_path).training["steps"]
        tell_end(self.console, self.model_path, trainer, finished=finished, kept=kept)


def train_shared(
    out: Path, config: Config, data: RunData, *, minutes: float | None, resume: bool, console: Console
) -> None:
    """Trains a detector of the shared form, all of it in one run.

    Args:
        out: Folder of the run.
        config: The resolved configuration.
        data: What to learn from.
        minutes: Wall-clock budget; None trains for ``train.epochs``.
        resume: Go on with the run that the folder holds; without one, start.
        console: Where to tell how it goes.

    Raises:
        InputError: If the folder holds a run and ``resume`` is not asked for, or its run is another one.
    """
    tell_changes(console, check_run_folder(out, config, resume=resume))
    regions = search_first(config, data.images, out / "proposals", console)
    run = TrainingRun(
        out, config, data, learn=partial(shared_learner, config, data.training), regions=regions, console=console
    )
    run.fit(minutes, resume=resume)


def shared_learner(config: Config, data: DetectionData, compute: Compute, fresh: bool) -> Learner[DetectionNetwork]:
    """A whole detector of the shared form, its priors fitted to the training data."""
    network = build.build_network(config, len(data.class_names), build.fit_priors(config, data.images))
    if fresh:
        build_training.load_start_weights(config, network)
    return Learner(
        network,
        make_task=lambda source: build_training.build_task(config, network, source, compute.precision),
        make_objective=partial(build_training.build_objective, config),
        whole=lambda trained: trained,
    )

"""The training of a detector of the crop form: one run for what proposes, if that is learnt, then one for each member.

Each run has a folder within that of the whole, ``proposer/``, ``member1/``, ..., with a model of its own: the detector
that proposes, and the detector with this member alone. The model of the whole is put together from them.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path

import typer
from rich.console import Console

from configs.schema import Config
from detection import build, build_training
from detection.checkpoint import MODEL_NAME, ModelHeader, load_header, load_model, save_model
from detection.crop import build as crop
from detection.crop.classifier import CropClassifier
from detection.crop.network import join_members
from detection.data.records import DetectionData
from detection.device import Compute, choose_compute
from detection.errors import InputError
from detection.network import DetectionNetwork
from detection.regions import RegionSource
from tools.cli import EXIT_STOPPED
from tools.region_search import search_first
from tools.run_folder import check_run_folder, goes_on, refuse_several, tell_changes, write_config
from tools.training_run import Learner, MakeLearner, Network, RunData, TrainingRun, shared_learner

PROPOSER = "proposer"


def train_crop(
    out: Path, config: Config, data: RunData, *, minutes: float | None, resume: bool, console: Console
) -> None:
    """Trains a detector of the crop form; from the first member on there is a model, better with each further one.

    Args:
        out: Folder of the run.
        config: The resolved configuration.
        data: What to learn from; the validation part decides about each run's weights.
        minutes: Wall-clock budget of all runs; None splits ``train.epochs``.
        resume: Go on with what the folder holds; runs that are done are passed over.
        console: Where to tell how it goes.

    Raises:
        InputError: If the folder holds a run and ``resume`` is not asked for, or its run is another one.
    """
    refuse_several("classifier.form crop")
    tell_changes(console, check_run_folder(out, config, resume=resume))
    stages = CropStages(out, config, data, minutes=minutes, resume=resume, console=console)
    stages.check_start()
    regions = search_first(config, data.images, out / "proposals", console)
    stages.tell_plan()
    proposer = stages.learn_to_propose()
    for number in range(1, config.classifier.crop.members + 1):
        stages.train_member(number, proposer, regions)


@dataclass(frozen=True)
class CropStages:
    """The runs of one training; for the attributes see ``train_crop``."""

    out: Path
    config: Config
    data: RunData
    _: KW_ONLY
    minutes: float | None
    resume: bool
    console: Console

    def check_start(self) -> None:
        """Looks for what is bound to fail, before anything is written.

        Raises:
            InputError: If device or start weights are unavailable, or a step has more images than objects to show.
        """
        c, t = self.config.classifier.crop, self.config.train
        if (num_objects := int(c.batch * c.foreground_fraction)) < t.batch_size:
            raise InputError(
                f"classifier.crop: {c.batch} regions a step, of which {c.foreground_fraction:g} may be objects, are "
                f"{num_objects} for train.batch_size = {t.batch_size} images; raise classifier.crop.batch or lower "
                f"train.batch_size"
            )
        choose_compute(t.device, t.precision)
        first = self.out / (_member_name(1) if crop.proposer_config(self.config) is None else PROPOSER)
        if not goes_on(first, resume=self.resume):
            build_training.load_start_weights(self.config, crop.build_member(self.config, num_classes=1))

    def tell_plan(self) -> None:
        """Says how the budget is split."""
        shares, members = crop.stage_shares(self.config), self.config.classifier.crop.members
        of_proposer = crop.proposer_config(self.config)
        first = [] if of_proposer is None else [f"{self._budget(of_proposer, shares.proposer)} for learning to propose"]
        whom = f"each of {members} members" if members > 1 else "the member"
        each = f"{self._budget(crop.member_config(self.config, 1), shares.member)} for {whom}"
        self.console.print("plan: " + ", then ".join([*first, each]))

    def learn_to_propose(self) -> DetectionNetwork | None:
        """Trains what proposes, unless a member has already learnt from its proposals; None where nothing is learnt."""
        config = crop.proposer_config(self.config)
        if config is None:
            return None
        if not goes_on(self.out / _member_name(1), resume=self.resume):
            self.console.print("what proposes:")
            learn = partial(shared_learner, config, self.data.training)
            run = self._run(self.out / PROPOSER, config, learn, None)
            self._fit(run, crop.stage_shares(self.config).proposer)
        return load_proposer(config, self.out / PROPOSER)

    def train_member(self, number: int, proposer: DetectionNetwork | None, regions: RegionSource | None) -> None:
        """Trains one member, counted from 1, and puts the model together of those that are there."""
        members = self.config.classifier.crop.members
        self.console.print(f"member {number} of {members}:")
        config = crop.member_config(self.config, number)
        learn = partial(member_learner, config, self.data.training, proposer)
        run = self._run(self.out / _member_name(number), config, learn, regions)
        signalled = run.fit(self._part(crop.stage_shares(self.config).member), resume=self.resume)
        if put_together(self.out, self.config, number):
            self.console.print(f"model: {self.out / MODEL_NAME} with {number} of {members} members")
        if signalled and number < members:
            self._end_between_stages()

    def _run(
        self, folder: Path, config: Config, learn: MakeLearner[Network], regions: RegionSource | None
    ) -> TrainingRun[Network]:
        """One of the runs; from its first file on, the folder of the whole is taken."""
        return TrainingRun(
            folder,
            config,
            self.data,
            learn=learn,
            regions=regions,
            console=self.console,
            on_start=partial(write_config, self.out, self.config),
        )

    def _fit(self, run: TrainingRun[DetectionNetwork], share: float) -> None:
        if run.fit(self._part(share), resume=self.resume):
            self._end_between_stages()

    def _end_between_stages(self) -> None:
        self.console.print("stopped between two stages; the same command with --resume goes on")
        raise typer.Exit(EXIT_STOPPED)

    def _part(self, share: float) -> float | None:
        return None if self.minutes is None else self.minutes * share

    def _budget(self, stage: Config, share: float) -> str:
        """What a stage may spend, in words."""
        if self.minutes is not None:
            return f"{self.minutes * share:.3g} minutes"
        return f"{stage.train.epochs} epoch{'s' * (stage.train.epochs > 1)}"


def member_learner(
    config: Config, data: DetectionData, proposer: DetectionNetwork | None, compute: Compute, fresh: bool
) -> Learner[CropClassifier]:
    """A member, and the detector that has it alone.

    Args:
        config: Of the member.
        data: What to learn from.
        proposer: In evaluation mode; moved to where the run computes. None where proposals are given.
        compute: Where.
        fresh: Whether it takes start weights.
    """
    member = crop.build_member(config, len(data.class_names))
    if fresh:
        build_training.load_start_weights(config, member)
    if proposer is not None:
        proposer.to(compute.device)
    return Learner(
        member,
        make_task=lambda source: crop.build_task(
            config,
            member,
            proposer,
            source=source,
            optimizer=build_training.build_optimizer(config, member, compute.precision),
        ),
        make_objective=lambda trained: crop.build_objective(config, trained, proposer),
        whole=lambda trained: crop.compose_network(config, proposer, [trained]),
        memory_options=("classifier.crop.batch", "classifier.crop.side"),
    )


def load_proposer(config: Config, folder: Path) -> DetectionNetwork:
    """The trained network that proposes, in evaluation mode; it learns nothing more.

    Args:
        config: Its configuration.
        folder: The folder of its run.

    Raises:
        InputError: If the model is missing or damaged.
    """
    tensors, header = load_model(folder)
    network = build.build_network(config, len(header.class_names))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def put_together(out: Path, config: Config, members: int) -> bool:
    """Writes the model with the first ``members`` members, of the models of their runs.

    Returns:
        False if a model with these members, or more, is there already: a resume never makes it smaller.
    """
    folders = [out / _member_name(number + 1) for number in range(members)]
    steps = [load_header(folder).training["steps"] for folder in folders]
    if (out / MODEL_NAME).is_file() and load_header(out).training["steps"][:members] == steps:
        return False
    header = load_header(folders[0])
    training = dict(header.training) | {
        "steps": steps,
        "seed": config.train.seed,
        "validation": {},  # of the members alone, in their models; the whole was not judged
    }
    whole = ModelHeader(
        config=crop.with_members(config, members).model_dump(mode="json"),
        class_names=header.class_names,
        category_ids=header.category_ids,
        training=training,
        note=header.note,
    )
    save_model(out / MODEL_NAME, join_members([load_model(folder)[0] for folder in folders]), whole)
    return True


def _member_name(number: int) -> str:
    """The folder of a member's run; members count from 1."""
    return f"member{number}"

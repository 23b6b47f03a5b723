"""The training of a detector of the crop form: one run for what proposes, if that is learnt, then one for each member.

Each run has its folder within the whole's, ``proposer/``, ``member1/``, ..., with a model of its own: the detector that
proposes, and the detector with this member alone. The model of the whole is put together of them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console

from configs.schema import Config
from detection import build, build_training
from detection.checkpoint import MODEL_NAME, ModelHeader, load_header, load_model, save_model
from detection.crop import build as crop
from detection.crop.classifier import CropClassifier
from detection.crop.network import join_members
from detection.data.records import DetectionData
from detection.device import Compute, choose_compute
from detection.network import DetectionNetwork
from tools.run_folder import check_run_folder, goes_on, write_config
from tools.training_run import Learner, RunData, TrainingRun, search_regions, shared_learner

PROPOSER = "proposer"


def train_crop(
    out: Path, config: Config, data: RunData, *, minutes: float | None, resume: bool, console: Console
) -> None:
    """Trains a detector of the crop form; the model is there, and better each time, from the first member on.

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
    check_run_folder(out, config, resume=resume)
    members = config.classifier.crop.members
    of_proposer, of_members = crop.proposer_config(config), [crop.member_config(config, n + 1) for n in range(members)]
    first = out / (_member_name(1) if of_proposer is None else PROPOSER)
    _check_start(config, fresh=not goes_on(first, resume=resume))
    regions = search_regions(config, data, out / "proposals", console)
    write_config(out, config)
    shares = crop.stage_shares(config)
    _tell_plan(config, minutes, console)
    if of_proposer is not None:
        console.print("what proposes:")
        learn = partial(shared_learner, of_proposer, data.training)
        run = TrainingRun(out / PROPOSER, of_proposer, data, learn=learn, regions=None, console=console)
        run.fit(_part(minutes, shares.proposer), resume=resume)
    proposer = None if of_proposer is None else load_proposer(of_proposer, out / PROPOSER)
    for number, of_member in enumerate(of_members, start=1):
        console.print(f"member {number} of {members}:")
        learner = partial(member_learner, of_member, data.training, proposer)
        member_run = TrainingRun(
            out / _member_name(number), of_member, data, learn=learner, regions=regions, console=console
        )
        member_run.fit(_part(minutes, shares.member), resume=resume)
        put_together(out, config, number)
        console.print(f"model: {out / MODEL_NAME} with {number} of {members} members")


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
        whole=lambda trained: crop.compose_network(config, proposer, [trained]),
    )


def load_proposer(config: Config, folder: Path) -> DetectionNetwork:
    """The trained network that proposes, in evaluation mode; it learns nothing more.

    Args:
        config: Of it.
        folder: Of its run.

    Raises:
        InputError: If the model is missing or damaged.
    """
    tensors, header = load_model(folder)
    network = build.build_network(config, len(header.class_names))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def put_together(out: Path, config: Config, members: int) -> None:
    """Writes the model with the first ``members`` members, of the models of their runs."""
    folders = [out / _member_name(number + 1) for number in range(members)]
    header = load_header(folders[0])
    training = dict(header.training) | {
        "steps": [load_header(folder).training["steps"] for folder in folders],
        "seed": config.train.seed,
        "validation": {},  # of the members alone, in their models; the whole was not judged
    }
    whole = ModelHeader(
        config=crop.with_members(config, members).model_dump(mode="json"),
        class_names=header.class_names,
        category_ids=header.category_ids,
        training=training,
    )
    save_model(out / MODEL_NAME, join_members([load_model(folder)[0] for folder in folders]), whole)


def _member_name(number: int) -> str:
    """The folder of a member's run; members count from 1."""
    return f"member{number}"


def _check_start(config: Config, *, fresh: bool) -> None:
    """Looks for device and start weights before anything is written.

    Raises:
        InputError: If one is not to be had.
    """
    choose_compute(config.train.device, config.train.precision)
    if fresh:
        build_training.load_start_weights(config, crop.build_member(config, num_classes=1))


def _part(minutes: float | None, share: float) -> float | None:
    return None if minutes is None else minutes * share


def _tell_plan(config: Config, minutes: float | None, console: Console) -> None:
    """Says how the budget is split."""
    shares, crop_config = crop.stage_shares(config), config.classifier.crop

    def of_stage(stage: Config, share: float) -> str:
        epochs = f"{stage.train.epochs} epoch{'s' * (stage.train.epochs > 1)}"
        return epochs if minutes is None else f"{minutes * share:.3g} minutes"

    of_proposer = crop.proposer_config(config)
    first = [] if of_proposer is None else [f"{of_stage(of_proposer, shares.proposer)} for learning to propose"]
    each = of_stage(crop.member_config(config, 1), shares.member)
    whom = f"each of {crop_config.members} members" if crop_config.members > 1 else "the member"
    console.print("plan: " + ", then ".join([*first, f"{each} for {whom}"]))

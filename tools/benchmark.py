"""``multibox benchmark``: the time of a detector's stages, and of training beside the bare network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from backbone.normalization import ColourNormalization
from configs.load import load_config, preset_names
from configs.pretraining import PretrainConfig
from configs.schema import Config
from detection import build_training
from detection.atomic import write_json
from detection.build import load_detector
from detection.chance import StepChance
from detection.checkpoint import model_file
from detection.classification import build as build_classifier
from detection.data.image import read_image
from detection.data.loader import DetectionBatches, share_of_odds, steps_of_many
from detection.data.source import list_source
from detection.engine import Trainer
from detection.errors import InputError
from detection.preprocess import Image
from detection.schedule import StepBudget
from detection.training_state import StateFile
from tools.cli import plain_console, run_alone
from tools.detection_speed import DetectionSpeed, measure_detection, noise
from tools.following import start_accelerator
from tools.measure.torchvision_peer import PEER_NAME, make_timing_peer
from tools.reading import pack_images, read_data, training_split
from tools.region_search import search_regions
from tools.stopwatch import timed
from tools.training_run import shared_learner
from tools.training_speed import measure_training

console = plain_console()

NETWORK = "googlenet"

IMAGES, STEPS = 150, 4


def benchmark(
    model: Annotated[
        str,
        typer.Argument(help="A model or a run's folder; with --training a preset or a YAML file, or googlenet."),
    ],
    source: Annotated[
        Path | None,
        typer.Argument(help="Image or folder for a model [default: noise of 640 x 480]; for a training its data set."),
    ] = None,
    training: Annotated[bool, typer.Option("--training", help="Time the training instead of a trained model.")] = False,
    images: Annotated[
        int | None, typer.Option(min=1, help=f"Of a model: most images to time. [default: {IMAGES}]")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Of a model: time torchvision's Faster R-CNN on the same images.")
    ] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Of a model: write the numbers here.")] = None,
    config: Annotated[
        str | None, typer.Option(help="Of googlenet: recipe (modern, paper) or a YAML file. [default: modern]")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Of a training: override a value: train.batch_size=64")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help=f"Of a training: steps of each measurement. [default: {STEPS}]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Of a model: auto, cpu, cuda or mps; a training's is train.device.")
    ] = None,
) -> None:
    """Tells how long each stage of a detector takes; or how near training comes to the bare network.

    Example: multibox benchmark runs/first photos --peers --json speed.json

    Each stage is set beside the time that its multiply-adds would take as one large matrix product. The peer's weights
    are random, so its boxes mean nothing; trained, with more to tell, it takes a tenth longer.

    Of a training, all of it (views, optimizer, average) and the bare forward and backward pass are measured in turn,
    several times, and the median of the rounds is told: a machine's speed drifts. Then the parts of a step.

    Example: multibox benchmark default my-data --training

    Example: multibox benchmark googlenet tiny-imagenet-200.zip --set 'input.sides=[[0,64]]'
    """
    overrides = list(set_ or [])
    of_model = {"--json": json_path, "--peers": peers, "--images": images, "--device": device}
    of_training = {"--set": overrides, "--steps": steps}
    if training or model == NETWORK:
        _refuse(of_model, "for a model's detection; leave it out of a training's benchmark")
    else:
        _refuse(of_training, "for a training; a model is measured as it is")
    if model != NETWORK:
        _refuse(
            {"--config": config}, f"for {NETWORK}; the configuration of a detector's training is its first argument"
        )
    if model != NETWORK and not training:
        speed = _measure_detector(Path(model), source, images or IMAGES, device or "auto", peers)
        console.print(f"{model}, one image at a time, and at last several")
        speed.show(console)
        if json_path is not None:
            write_json(json_path, {"model": model, **speed.to_document()})
    elif source is None:
        raise InputError(f"{model}: name the data set to train on: multibox benchmark {model} DATA --training")
    elif model == NETWORK:
        recipe = load_config(config or "modern", overrides, schema=PretrainConfig)
        _benchmark_classifier_training(recipe, source, steps or STEPS)
    else:
        _benchmark_detector_training(load_config(model, overrides, schema=Config), source, steps or STEPS)


def _refuse(options: Mapping[str, object], purpose: str) -> None:
    """Refuses options that were given and would have no effect."""
    if given := [name for name, value in options.items() if value]:
        raise InputError(f"{' and '.join(given)}: {purpose}")


def _measure_detector(path: Path, source: Path | None, most: int, device: str, peers: bool) -> DetectionSpeed:
    if str(path) in preset_names(Config) and not model_file(path).is_file():
        raise InputError(
            f"{path}: a preset is no trained model; its training: multibox benchmark {path} DATA --training"
        )
    detector = load_detector(path, device=device)
    read_seconds: list[float] = []

    def read() -> Iterator[Image]:
        assert source is not None
        for _, file in islice(list_source(source), most):
            try:
                image, seconds = timed(read_image, file)
            except InputError as error:
                console.print(f"passed over: {error}")
                continue
            read_seconds.append(seconds)
            yield image
        if not read_seconds:
            raise InputError(f"{source}: none of its images can be read; name a folder with some that can")

    return measure_detection(
        detector,
        load_detector(path, device=device, precision="float32", prepare=False),
        (noise((480, 640), seed) for seed in range(most)) if source is None else read(),
        read_seconds=None if source is None else read_seconds,
        peers={PEER_NAME: make_timing_peer(len(detector.class_names), detector.device)} if peers else {},
    )


def _benchmark_classifier_training(config: PretrainConfig, data: Path, steps: int) -> None:
    accelerator, compute = start_accelerator(config.train.device, config.train.precision)
    with TemporaryDirectory(prefix="multibox-", ignore_cleanup_errors=True) as folder:
        packed = pack_images(console, data, "val", Path(folder), shorter_side=build_classifier.stored_side(config))
        network = build_classifier.build_network(config, len(packed.class_names)).to(accelerator.device)
        trainer = Trainer(
            build_classifier.build_task(config, network, packed, compute.precision),
            settings=build_classifier.training_settings(config),
            budget=StepBudget(2**31),
            accelerator=accelerator,
            state=StateFile(Path(folder) / "state.safetensors", {}),
        )
        batches = iter(trainer.source.batches(0, lambda step: 0.0))  # one for all rounds: its workers start once
        images, labels = next(batches).inputs(accelerator.device)
        normalized = ColourNormalization().to(accelerator.device)(images, torch.float32)

        def bare() -> None:
            with accelerator.autocast():
                logits = network(normalized).logits
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()
            network.zero_grad()

        speed = measure_training(trainer, batches, bare, images=len(labels), steps=steps)
    side = config.input.sides[0][1]
    console.print(f"{accelerator.device}, {config.train.optimizer}, batches of {len(labels)} at {side} pixels")
    speed.show(console)


def _benchmark_detector_training(config: Config, data: Path, steps: int) -> None:
    """Times the training of the shared form, at the full size of its inputs."""
    if config.classifier.form == "crop":
        raise InputError("the training of classifier.form crop is not timed; `multibox train` tells images a second")
    accelerator, compute = start_accelerator(config.train.device, config.train.precision)
    labelled = read_data(console, data, training_split(data, None))
    learner = shared_learner(config, labelled, compute, True)
    with TemporaryDirectory(prefix="multibox-", ignore_cleanup_errors=True) as folder:
        regions = search_regions(config, labelled.images, Path(folder), console)
        source = in_full_swing(build_training.build_batches(config, labelled.images, regions), config)
        trainer = Trainer(
            learner.make_task(source),
            settings=build_training.training_settings(config),
            budget=StepBudget(2**31),
            accelerator=accelerator,
            state=StateFile(Path(folder) / "state.safetensors", {}),
        )
        batches = iter(source.batches(0, lambda step: late_progress(config)))
        images, targets, given = next(batches).inputs(accelerator.device)

        def bare() -> None:
            losses = trainer.objective(images, targets, given, StepChance(0, 0))
            accelerator.backward(torch.stack(list(losses.values())).sum())
            trainer.optimizer.zero_grad()

        speed = measure_training(trainer, batches, bare, images=len(images), steps=steps)
    height, width = images.shape[2:]
    console.print(
        f"{accelerator.device}, {config.train.optimizer}, batches of {len(images)} at {width} x {height} pixels"
    )
    speed.show(console)


def in_full_swing(source: DetectionBatches, config: Config) -> DetectionBatches:
    """Batches with as many mosaics and crops from the first one on as the training will have."""
    steps = config.train.epochs * source.steps_per_epoch
    needed = steps_of_many(source.many_epochs, source.steps_per_epoch, enough_steps=source.enough_steps)
    return replace(source, many_epochs=0, odds=source.odds.times(share_of_odds(steps, needed)))


def late_progress(config: Config) -> float:
    """A point of the run at which inputs have their full size, and mosaics have not ended, if they end behind that."""
    return min(1.0, max(config.train.low_resolution.fraction, config.augment.mosaic_until - 1e-6))


if __name__ == "__main__":
    run_alone(benchmark)

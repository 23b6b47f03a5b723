"""Proposals of a trained model beside those of torchvision's Faster R-CNN (MobileNetV3, 320 pixels), equal minutes.

    python -m tools.measure.rpn_recall runs/first/model.safetensors my-data --minutes 15

The peer starts at random, as a user without network would start it: no weights come with it. Its region proposal
network is judged as it is used, with its own NMS; it hands on at most 150 boxes an image.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.models.detection import FasterRCNN, fasterrcnn_mobilenet_v3_large_320_fpn

from detection.data.image import read_image
from detection.data.records import DetectionData, ImageRecord
from detection.evaluation.proposal_summary import ProposalEvaluation, cover_image, summarize_covers
from detection.evaluation.report_view import number_text
from detection.preprocess import Image
from proposals.structures import Proposals
from tools.cli import run_alone
from tools.proposal_sources import SourceOptions, open_source
from tools.reading import evaluation_split, read_data, training_split

console = Console(soft_wrap=True, markup=False, highlight=False)

BATCH_SIZE = 4
LEARNING_RATE = 3e-4
WARMUP_STEPS = 100


def rpn_recall(
    model: Annotated[Path, typer.Argument(help="A trained model of ours.")],
    data: Annotated[Path, typer.Argument(help="The data set that it learnt from.")],
    minutes: Annotated[float, typer.Option(help="Training time of the peer.")] = 15.0,
    split: Annotated[str | None, typer.Option(help="Part to measure on.")] = None,
    seed: Annotated[int, typer.Option(help="Of the peer's training.")] = 0,
) -> None:
    """Measures recall and AR of the first proposals of a model and of the peer.

    Example: python -m tools.measure.rpn_recall runs/first/model.safetensors my-data --minutes 15
    """
    test = read_data(console, data, split or evaluation_split(data))
    ours = _evaluate(open_source(str(model), SourceOptions(max_proposals=1000)).propose, test)
    peer = _train_peer(read_data(console, data, training_split(data, None)), minutes, seed)
    theirs = _evaluate(partial(_peer_proposals, peer), test)
    table = Table("", "recall@50", "recall@100", "recall@200", "AR@50", "AR@100", "AR@200")
    for name, evaluation in (("ours", ours), ("the peer's RPN", theirs)):
        numbers = [evaluation.by_count[count] for count in (50, 100, 200)]
        recall = [number_text(each.recall_of(0.5)) for each in numbers]
        table.add_row(name, *recall, *(number_text(each.average_recall["all"]) for each in numbers))
    console.print(table)


def _evaluate(propose: Callable[[Image], Proposals], data: DetectionData) -> ProposalEvaluation:
    covers = []
    for record in data.images:
        image = read_image(record.path)
        started = time.perf_counter()
        found = propose(image)
        covers.append(cover_image(record, found, seconds=time.perf_counter() - started))
    return summarize_covers(covers, data.class_names)


def _train_peer(data: DetectionData, minutes: float, seed: int) -> FasterRCNN:
    """Trains with AdamW on a cosine, flips in both directions, batches of four: what serves it well here."""
    torch.manual_seed(seed)
    chance = random.Random(seed)
    network = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=len(data.class_names) + 1, trainable_backbone_layers=6
    ).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    started, step = time.monotonic(), 0
    for batch in _batches(data.images, chance):
        progress = (time.monotonic() - started) / (60 * minutes)
        if progress >= 1:
            break
        warmup = min(1.0, (step + 1) / WARMUP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warmup * 0.5 * (1 + np.cos(np.pi * progress))
        views = [_view(record, chance) for record in batch]
        losses = network([image for image, _ in views], [target for _, target in views])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimizer.step()
        step += 1
    console.print(f"peer: {step} steps, {step * BATCH_SIZE / len(data.images):.1f} epochs")
    return network.eval()


def _batches(records: tuple[ImageRecord, ...], chance: random.Random) -> Iterator[list[ImageRecord]]:
    """Shuffled batches without end, of images that have objects."""
    usable = [record for record in records if (~record.ignore).any()]
    while True:
        order = chance.sample(usable, len(usable))
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            yield order[start : start + BATCH_SIZE]


def _view(record: ImageRecord, chance: random.Random) -> tuple[Tensor, dict[str, Tensor]]:
    image, boxes = read_image(record.path), record.boxes[~record.ignore].copy()
    if chance.random() < 0.5:
        image, boxes[:, [0, 2]] = image[:, ::-1], image.shape[1] - boxes[:, [2, 0]]
    if chance.random() < 0.5:
        image, boxes[:, [1, 3]] = image[::-1], image.shape[0] - boxes[:, [3, 1]]
    labels = torch.from_numpy(record.labels[~record.ignore] + 1)
    return _pixels(image), {"boxes": torch.from_numpy(boxes), "labels": labels}


def _pixels(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


@torch.inference_mode()
def _peer_proposals(network: FasterRCNN, image: Image) -> Proposals:
    """The boxes that the RPN hands on, in pixels of the image, best first."""
    images, _ = network.transform([_pixels(image)])
    boxes, _ = network.rpn(images, network.backbone(images.tensors))
    height, width = images.image_sizes[0]
    scale = torch.tensor([image.shape[1] / width, image.shape[0] / height]).repeat(2)
    scores = torch.linspace(1, 0, len(boxes[0]))  # already in order; the scores themselves are not handed on
    return Proposals(boxes[0] * scale, scores, (image.shape[0], image.shape[1]))


if __name__ == "__main__":
    run_alone(rpn_recall)

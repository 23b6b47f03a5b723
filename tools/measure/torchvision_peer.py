"""The peer: torchvision's Faster R-CNN (MobileNetV3, 320 pixels), trained as an offline user would train it.

It starts at random, since no weights come with it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN, fasterrcnn_mobilenet_v3_large_320_fpn

from detection.data.image import read_image
from detection.data.records import DetectionData, ImageRecord
from detection.preprocess import Image
from detection.structures import Detections
from proposals.structures import Proposals

PEER_NAME = "torchvision Faster R-CNN MobileNetV3-320"

BATCH_SIZE = 4
LEARNING_RATE = 3e-4
WARMUP_STEPS = 100


def train_peer(data: DetectionData, minutes: float, seed: int) -> tuple[FasterRCNN, int]:
    """Trains with AdamW on a cosine, flips in both directions, batches of four: what serves it well here.

    Returns:
        The network, ready to answer, and the steps that it made.
    """
    torch.manual_seed(seed)
    chance = random.Random(seed)
    network = _make_network(len(data.class_names)).train()
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
    return network.eval(), step


def make_timing_peer(num_classes: int, device: torch.device) -> Callable[[Image], Detections]:
    """What finds boxes with random weights: for its time, which hardly depends on them."""
    torch.manual_seed(0)
    return partial(peer_detections, _make_network(num_classes).eval().to(device))


def _make_network(num_classes: int) -> FasterRCNN:
    """With random weights, so all of its layers learn."""
    return fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=num_classes + 1)


def _batches(records: tuple[ImageRecord, ...], chance: random.Random) -> Iterator[list[ImageRecord]]:
    """Shuffled batches without end, of images that have objects."""
    usable = [record for record in records if (~record.ignore).any()]
    while True:
        order = chance.sample(usable, len(usable))
        for start in range(0, max(1, len(order) - BATCH_SIZE + 1), BATCH_SIZE):
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
def peer_detections(network: FasterRCNN, image: Image) -> Detections:
    """What it finds in an image, after its own NMS and threshold; on the network's device, the answer on the CPU."""
    (answer,) = network([_pixels(image).to(next(network.parameters()).device)])
    found = {name: tensor.cpu() for name, tensor in answer.items()}
    return Detections(found["boxes"], found["scores"], found["labels"] - 1, (image.shape[0], image.shape[1]))


@torch.inference_mode()
def peer_proposals(network: FasterRCNN, image: Image) -> Proposals:
    """The boxes that its RPN hands on, at most 150, in pixels of the image, best first."""
    images, _ = network.transform([_pixels(image)])
    boxes, _ = network.rpn(images, network.backbone(images.tensors))
    height, width = images.image_sizes[0]
    scale = torch.tensor([image.shape[1] / width, image.shape[0] / height]).repeat(2)
    scores = torch.linspace(1, 0, len(boxes[0]))  # already in order; the scores themselves are not handed on
    return Proposals(boxes[0] * scale, scores, (image.shape[0], image.shape[1]))

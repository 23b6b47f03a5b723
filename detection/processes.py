"""Training on several processes: which one this is, and what all of them agree on.

``accelerate launch`` or ``torchrun`` starts them. Every process takes its part of each batch, gradients are averaged,
and loss normalisers, batch statistics and decisions come from all of them, so that the run is the one that a single
process would make of the whole batch. Alone, there is one place, ``gather`` gives a list of one, and the
others give back what they got.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed
from torch.nn.functional import pad

from detection.preprocess import PAD_COLOUR

ValueT = TypeVar("ValueT")


class Place(NamedTuple):
    """Which of how many processes one is."""

    rank: int = 0
    processes: int = 1


ALONE = Place()


def launched_place() -> Place:
    """The place that the launcher gave this process, before the processes have met."""
    return Place(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def are_several() -> bool:
    """Whether processes have met."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def place() -> Place:
    """Which of how many processes this is, once they have met."""
    return Place(distributed.get_rank(), distributed.get_world_size()) if are_several() else ALONE


def mean_of_all(values: Tensor) -> Tensor:
    """The mean over the processes, of the same shape; without a gradient."""
    if not are_several():
        return values.detach()
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def first_and_any(number: float, flag: bool, device: torch.device) -> tuple[float, bool]:
    """The number of the first process, and whether any process has set the flag."""
    if not are_several():
        return number, flag
    values = torch.tensor([number if place().rank == 0 else 0.0, float(flag)], dtype=torch.float64, device=device)
    distributed.all_reduce(values)
    return float(values[0]), bool(values[1] > 0)


def gather(value: ValueT) -> list[ValueT]:
    """What every process has, in the order of their ranks."""
    if not are_several():
        return [value]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    return found


def share_of(rows: Sequence[ValueT]) -> Sequence[ValueT]:
    """The part of a list that this process works on; the parts of all make up the whole, each element once."""
    rank, processes = place()
    return rows[rank::processes]


def pad_alike(images: Tensor) -> Tensor:
    """Pads (B, 3, H, W) uint8 images to the largest batch of all processes, as one batch of them all would be."""
    if not are_several():
        return images
    largest = torch.tensor(images.shape[-2:], device=images.device)
    distributed.all_reduce(largest, op=distributed.ReduceOp.MAX)
    missing = (largest - torch.tensor(images.shape[-2:], device=images.device)).tolist()
    if not any(missing):
        return images
    colour = torch.tensor(PAD_COLOUR, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    inside = pad(torch.ones_like(images[:, :1]), [0, missing[1], 0, missing[0]])
    padded = pad(images, [0, missing[1], 0, missing[0]])
    return torch.where(inside.bool(), padded, colour).contiguous(memory_format=torch.channels_last)

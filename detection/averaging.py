"""A running average of the weights: steadier than the last step's, and what is evaluated, saved and used."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class AveragedWeights(Generic[Network]):
    """Exponential moving average of parameters and buffers (Polyak averaging in the spirit of 1409.4842, section 6).

    Args:
        network: What to follow; its state at this moment is the start.
        decay: Weight of the past per step once warmed up; the first steps forget faster.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Moves the average towards ``network``; integer buffers are copied."""
        self.updates += 1
        decay = min(self.decay, self.updates / (10 + self.updates))
        current = network.state_dict()
        averages, values = [], []
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                averages.append(average)
                values.append(current[name])
            else:
                average.copy_(current[name])
        torch._foreach_lerp_(averages, values, 1 - decay)

    def load(self, state_dict: Mapping[str, Tensor], updates: int) -> None:
        """Takes up a saved average."""
        self.network.load_state_dict(state_dict)
        self.updates = updates

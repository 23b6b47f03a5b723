"""The state of a training in a file: everything that an exact resume needs, and which run it belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detection.checkpoint import load_state, save_state
from detection.errors import InputError


@dataclass(frozen=True)
class StateFile:
    """Where a run keeps its state, and which run that is.

    Attributes:
        path: The file.
        identity: What must be the same on a resume: name -> value.
    """

    path: Path
    identity: Mapping[str, str]

    def write(self, parts: Mapping[str, Mapping[str, Tensor]], course: Mapping[str, Any]) -> None:
        """Writes the tensors of each part, by name, and how far the run has come; whole or not at all."""
        tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        save_state(self.path, tensors, {"identity": dict(self.identity), **course})

    def read(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """What ``write`` was given.

        Raises:
            InputError: If there is no state, or a value of its identity differs; names each with both values.
        """
        tensors, course = load_state(self.path)
        found = course.get("identity", {})
        changed = [f"{k} was {found.get(k)}, is {v}" for k, v in self.identity.items() if found.get(k) != v]
        if changed:
            raise InputError(f"{self.path}: {'; '.join(changed)}; resume with the same command, or give another --out")
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        return parts, course


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments by name: the number of the parameter, a dot, and what the optimizer calls them."""
    states = optimizer.state_dict()["state"].items()
    return {
        f"{index}.{name}": tensor for index, state in states for name, tensor in state.items() if tensor is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Takes up moments, in the memory layout of their parameters.

    Raises:
        LookupError, ValueError, RuntimeError: If they are those of other parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = optimizer.state_dict()
    state["state"] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        moment = tensor if tensor.ndim == 0 else torch.empty_like(parameters[int(index)]).copy_(tensor)
        state["state"].setdefault(int(index), {})[key] = moment
    optimizer.load_state_dict(state)

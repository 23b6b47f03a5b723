"""Which device computes, and in which precision. The only place that asks the machine what it has."""

from __future__ import annotations

from typing import NamedTuple

import torch

from detection.errors import InputError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def precision_name(precision: torch.dtype) -> str:
    """The inverse of ``PRECISIONS``."""
    return str(precision).removeprefix("torch.")


class Compute(NamedTuple):
    """Where to compute, and in which precision."""

    device: torch.device
    precision: torch.dtype


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Both by their names; see ``choose_device`` and ``choose_precision``.

    Raises:
        InputError: If one is not there.
    """
    chosen = choose_device(device)
    return Compute(chosen, choose_precision(chosen, precision))


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA, else Apple's MPS, else the CPU; any other name is taken at its word.

    Raises:
        InputError: If the named device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(kind, 0)
    if not (index or "0").isdecimal() or int(index or 0) >= count:
        raise InputError(f"device {name!r} is not available on this machine; use auto or cpu")
    return torch.device(name)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself; emulated, it would be slower than float32."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # it asks the current one
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # torch has no public question for this that all its releases answer.
        units = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, unit, lambda: False)() for unit in units)
    return False


def choose_precision(device: torch.device, name: str = "auto") -> torch.dtype:
    """``auto`` takes bfloat16 where the hardware is fast at it, else float32; a name is taken at its word.

    Raises:
        InputError: If the name is another.
    """
    if name == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    if name not in PRECISIONS:
        raise InputError(f"precision {name!r} is not known; use auto, {' or '.join(PRECISIONS)}")
    return PRECISIONS[name]

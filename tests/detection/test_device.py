"""Which device and precision are chosen, whatever this machine has."""

from __future__ import annotations

import pytest
import torch

from detection import device as device_module
from detection.device import choose_device, choose_precision
from detection.errors import InputError


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_fastest(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device().type == expected


def test_a_missing_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == torch.device("cuda:0")
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(InputError, match=r"'cuda:1' is not available on this machine; use auto or cpu"):
        choose_device("cuda:1")
    for name in ("tpu", "cuda:x"):
        with pytest.raises(InputError, match=f"'{name}' is not available"):
            choose_device(name)
    with pytest.raises(InputError, match="precision 'fp16' is not known; use auto, float32 or bfloat16"):
        choose_precision(torch.device("cpu"), "fp16")


@pytest.mark.parametrize(("fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch, fast: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr(device_module, "has_fast_bfloat16", lambda device: fast)
    cpu = torch.device("cpu")
    assert choose_precision(cpu) is expected
    assert choose_precision(cpu, "float32") is torch.float32
    assert choose_precision(cpu, "bfloat16") is torch.bfloat16


def test_a_cpu_without_bfloat16_units_is_not_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not device_module.has_fast_bfloat16(torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert device_module.has_fast_bfloat16(torch.device("cpu"))

"""The allocator's settings."""

from __future__ import annotations

import ctypes
import sys

import pytest

from detection.memory import keep_freed_memory


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_glibc_takes_the_settings() -> None:
    assert keep_freed_memory() is hasattr(ctypes.CDLL(None), "mallopt")

"""How commands end, and what they can print."""

from __future__ import annotations

import os
import sys
from io import BytesIO, TextIOWrapper

import pytest
from rich.console import Console

from tools.cli import run

console = Console(soft_wrap=True, markup=False, highlight=False)


def test_a_name_that_is_not_utf8_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TextIOWrapper(BytesIO(), encoding="utf-8", errors="strict", write_through=True)
    monkeypatch.setattr(sys, "stdout", terminal)
    run(lambda: console.print("not read:", os.fsdecode(b"caf-\xe9.jpg")))
    assert terminal.buffer.getvalue() == b"not read: caf-\\udce9.jpg\n"  # type: ignore[attr-defined]

"""How commands end, and what they can print."""

from __future__ import annotations

import os
import sys
from io import BytesIO, TextIOWrapper

import pytest
from rich.console import Console
from rich.table import Table

from tools.cli import plain_console, run

console = Console(soft_wrap=True, markup=False, highlight=False)


def test_a_name_that_is_not_utf8_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TextIOWrapper(BytesIO(), encoding="utf-8", errors="strict", write_through=True)
    monkeypatch.setattr(sys, "stdout", terminal)
    run(lambda: console.print("not read:", os.fsdecode(b"caf-\xe9.jpg")))
    assert terminal.buffer.getvalue() == b"not read: caf-\\udce9.jpg\n"  # type: ignore[attr-defined]


def test_control_characters_are_shown_by_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    plain_console().print("a\x1b]0;owned\x07.jpg\x9b2J\r", "two\nlines\tand a tab")
    table = Table("class")
    table.add_row("cat\x1b[2J")
    plain_console().print(table)
    told = capsys.readouterr().out
    assert "a\\x1b]0;owned\\x07.jpg\\x9b2J\\x0d two\nlines" in told
    assert "cat\\x1b[2J" in told
    assert not set(told) & {"\x1b", "\x07", "\x9b", "\r"}

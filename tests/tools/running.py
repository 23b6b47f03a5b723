"""Commands run in the process of the test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from accelerate.state import AcceleratorState, GradientState

from tools.cli import run_alone
from tools.main import main


def _exit_code(program: str, entry: Callable[[], None], arguments: tuple[object, ...]) -> int:
    argv, sys.argv = sys.argv, [program, *map(str, arguments)]
    try:
        entry()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
    return 0


def run_main(*arguments: object) -> int:
    """Runs ``multibox`` with these arguments; returns its exit code."""
    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps its state from one run to the next
    GradientState._reset_state()
    return _exit_code("multibox", main, arguments)


def run_command(command: Callable[..., Any], *arguments: object) -> int:
    """Runs one command alone, as ``python -m tools.NAME`` does; returns its exit code."""
    return _exit_code(command.__name__, partial(run_alone, command), arguments)

"""The command line as a whole: every command is there, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from tools.main import COMMANDS, summary_of

RUN = """
import sys
sys.argv = ["multibox", "{}"]
from tools.main import main
try:
    main()
except SystemExit:
    pass
"""
HEAVY = ("torch", "torchvision", "numpy", "scipy", "cv2")


def imported_by(code: str) -> set[str]:
    """Heavy modules that a fresh process has imported after some code."""
    told = f"import sys; print(sorted(set({HEAVY}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", f"{code}\n{told}"], capture_output=True, text=True, check=True)
    return set(eval(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_that_of_the_command(name: str) -> None:
    documented = getattr(import_module(f"tools.{name}"), name).__doc__
    assert summary_of(name) == documented.partition("\n")[0]
    assert summary_of(name).endswith(".")


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    assert imported_by(RUN.format("--help")) == set()
    run = subprocess.run([sys.executable, "-m", "tools.main", "--help"], capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert name in run.stdout
        assert summary_of(name)[:20] in run.stdout


def test_a_slip_of_the_pen_imports_nothing_heavy() -> None:
    assert imported_by(RUN.format("trian")) == set()
    run = subprocess.run([sys.executable, "-m", "tools.main", "trian"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "No such command 'trian'; did you mean 'train'?" in run.stderr


@pytest.mark.parametrize("package", ["detection", "backbone", "proposals", "configs", "tools"])
def test_a_package_imports_nothing_heavy_by_itself(package: str) -> None:
    assert imported_by(f"import {package}") == set()


@pytest.mark.parametrize("package", ["detection", "backbone"])
def test_what_a_package_offers_is_there(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(module, "nothing")  # noqa: B009

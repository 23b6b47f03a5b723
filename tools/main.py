"""The command ``multibox``: one subcommand per module of this package, imported when it is called."""

from __future__ import annotations

import ast
from difflib import get_close_matches
from importlib import import_module
from importlib.resources import files
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tools.cli import run

COMMANDS = (
    "check",
    "train",
    "detect",
    "evaluate",
    "compare",
    "calibrate",
    "proposals",
    "export",
    "info",
    "demo",
    "pretrain",
    "classify",
    "benchmark",
)
"""In the order of the help: each the name of a module here and of a function in it."""


class LazyCommands(TyperGroup):
    """The subcommands. Torch takes seconds to import, so help and mistyped commands work without it.

    Types of click are not named: some versions of typer bring a click of their own.
    """

    _only_summaries = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; in a list of commands only what the list shows of it."""
        if cmd_name not in COMMANDS:
            return None
        if self._only_summaries:
            return TyperCommand(cmd_name, help=summary_of(cmd_name), rich_markup_mode="markdown")
        app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, rich_markup_mode="markdown")
        app.command(cmd_name)(getattr(import_module(f"tools.{cmd_name}"), cmd_name))
        return typer.main.get_command(app)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command that is called, or names the nearest."""
        near = get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and near:
            ctx.fail(f"No such command '{args[0]}'; did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Lists the commands by their summaries."""
        self._only_summaries = True
        super().format_help(ctx, formatter)


def summary_of(command: str) -> str:
    """First line of a command's docstring, read from its file."""
    tree = ast.parse((files("tools") / f"{command}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == command)
    return (ast.get_docstring(function) or "").partition("\n")[0]


app = typer.Typer(
    name="multibox",
    cls=LazyCommands,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)


@app.callback()
def multibox() -> None:
    """Object detectors trained on your own data, on the machine you have."""


def main() -> None:
    """Runs the command line."""
    run(app)


if __name__ == "__main__":
    main()

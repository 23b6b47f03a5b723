"""The command ``multibox``: one subcommand per module of this package."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from configs.errors import ConfigError
from detection.engine import NonFiniteLossError
from detection.errors import InputError
from tools.check import check
from tools.demo import demo
from tools.detect import detect
from tools.evaluate import evaluate
from tools.info import info
from tools.train import train

EXIT_BAD_INPUT = 2

app = typer.Typer(
    name="multibox",
    help="Object detectors trained on your own data, on the machine you have.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)
for command in (check, train, detect, evaluate, info, demo):
    app.command()(command)


def main() -> None:
    """Runs the command line; a fault in the user's input ends with its message and exit code 2, not a traceback."""
    try:
        app()
    except (InputError, ConfigError) as error:
        _fail(str(error))
    except NonFiniteLossError as error:
        _fail(f"training stopped: {error}")


def _fail(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False)
    sys.exit(EXIT_BAD_INPUT)


if __name__ == "__main__":
    main()

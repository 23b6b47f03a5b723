"""How every command ends: in words and an exit code, never a traceback, when the user's input is at fault."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from configs.errors import ConfigError
from detection.errors import InputError, NonFiniteLossError
from detection.memory import keep_freed_memory

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL: a scheduler may run the command again


def run(app: Callable[[], None]) -> None:
    """Runs a command line; a fault in the input ends with its message and exit code 2."""
    keep_freed_memory()
    if isinstance(sys.stdout, TextIOWrapper):  # a name that is not UTF-8 is shown as \udce9 and ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except (InputError, ConfigError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}; give another path, or make room")
    except NonFiniteLossError as error:
        _fail(f"training stopped: {error}")


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class _Console(Console):
    """Shows control characters, with which the name of a file could rule the terminal, as their codes.

    Line breaks and tabs stay, as messages have their own.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """What rich makes of a text."""
        return super().render_str(_CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text), **options)


def plain_console() -> Console:
    """Prints texts as they are: a class may be called ``[red]`` or ``:car:``."""
    return _Console(soft_wrap=True, markup=False, highlight=False, emoji=False)


def run_alone(command: Callable[..., None]) -> None:
    """Runs one command of the package as a program: ``python -m tools.train``."""
    app = typer.Typer(pretty_exceptions_show_locals=False, rich_markup_mode="markdown", add_completion=False)
    app.command()(command)
    run(app)


def _fail(message: str) -> None:
    _Console(stderr=True, soft_wrap=True, emoji=False).print(f"[bold red]error:[/] {escape(message)}", highlight=False)
    sys.exit(EXIT_BAD_INPUT)

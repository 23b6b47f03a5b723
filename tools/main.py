"""The command ``multibox``: one subcommand per module of this package."""

from __future__ import annotations

import typer

from tools.benchmark import benchmark
from tools.calibrate import calibrate
from tools.check import check
from tools.classify import classify
from tools.cli import run
from tools.compare import compare
from tools.demo import demo
from tools.detect import detect
from tools.evaluate import evaluate
from tools.info import info
from tools.pretrain import pretrain
from tools.proposals import proposals
from tools.train import train

app = typer.Typer(
    name="multibox",
    help="Object detectors trained on your own data, on the machine you have.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)
for command in (
    check,
    train,
    detect,
    evaluate,
    compare,
    calibrate,
    proposals,
    info,
    demo,
    pretrain,
    classify,
    benchmark,
):
    app.command()(command)


def main() -> None:
    """Runs the command line."""
    run(app)


if __name__ == "__main__":
    main()

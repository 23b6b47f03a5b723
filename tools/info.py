"""``multibox info``: what a model file or a preset holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from configs.load import config_origins, dump_config, flatten_config, load_config
from detection.build import build_network
from detection.checkpoint import load_model, model_file
from tools.cli import run_alone

console = Console(soft_wrap=True, markup=False, highlight=False)


def info(
    model: Annotated[str, typer.Argument(help="model.safetensors of a run, or a preset (default, fast, accurate).")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value of a preset: train.seed=1")] = None,
) -> None:
    """Shows the classes, training and configuration of a model, or the values of a preset and where they come from.

    Example: multibox info runs/first/model.safetensors
    """
    if model.endswith(".safetensors") or Path(model).is_dir():
        _show_model(Path(model))
    else:
        _show_preset(model, list(set_ or []))


def _show_model(path: Path) -> None:
    tensors, header = load_model(path)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    size = model_file(path).stat().st_size / 2**20
    console.print(f"{model_file(path)}: {parameters:,} numbers, {size:.1f} MiB")
    table = Table("label", "id", "class")
    for label, (number, name) in enumerate(zip(header.category_ids, header.class_names, strict=True)):
        table.add_row(str(label), str(number), name)
    console.print(table)
    for name, value in header.training.items():
        console.print(f"{name}: {value}")
    console.print(header.note)
    for section, values in header.config.items():
        console.print(f"{section}: {values}")


def _show_preset(name: str, overrides: list[str]) -> None:
    config, origins = load_config(name, overrides), config_origins(name, overrides)
    table = Table("value", "", "from")
    for key, value in flatten_config(config).items():
        table.add_row(key, str(value), origins[key])
    console.print(table)
    parameters = sum(parameter.numel() for parameter in build_network(config, num_classes=1).parameters())
    console.print(f"{parameters:,} parameters with one class")
    console.print(f"As a file to start from, with the meaning of each value:\n{dump_config(config)}", end="")


if __name__ == "__main__":
    run_alone(info)

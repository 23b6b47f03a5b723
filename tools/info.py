"""``multibox info``: what a model file, a preset or the network of the paper holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from backbone.table import (
    PAPER_CLASSES,
    PAPER_SIDE,
    TableRow,
    count_totals,
    list_variants,
    table_rows,
    total_row,
)
from backbone.variant import PAPER, Block, Norm, Variant
from backbone.weights import CLASSIFIER_FORMAT
from configs.load import Schema, config_origins, dump_config, flatten_config, load_config, preset_names
from configs.pretraining import PretrainConfig
from configs.schema import Config
from detection.build import build_whole_network
from detection.calibration import Calibration
from detection.checkpoint import file_format, load_model, model_file
from detection.classification.classifier import load_classifier_header
from detection.errors import InputError
from detection.export.engine import ENGINE_FILES
from tools.cli import plain_console, run_alone

NETWORK = "googlenet"

EXPORTED = tuple(Path(file).suffix for engine, file in ENGINE_FILES.items() if engine != "torch")
"""Suffixes of ``multibox export``."""

console = plain_console()


def info(
    model: Annotated[
        str,
        typer.Argument(
            help="model.safetensors of a run, a preset (default, fast, accurate, voc, coco, ilsvrc2014), "
            "a recipe (modern, paper), googlenet."
        ),
    ],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value of a preset: train.seed=1")] = None,
    table: Annotated[bool, typer.Option("--table", help="Of googlenet: table 1 of its paper, counted.")] = False,
    block: Annotated[str | None, typer.Option(help="naive, reduced or factorized. [default: reduced]")] = None,
    norm: Annotated[str | None, typer.Option(help="lrn or batchnorm. [default: lrn]")] = None,
    five_kernel: Annotated[int | None, typer.Option(help="Kernel of the 5x5 branch, 5 or 3. [default: 5]")] = None,
    side: Annotated[int | None, typer.Option(min=32, help="Side of googlenet's image. [default: 224]")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Classes of googlenet. [default: 1000]")] = None,
) -> None:
    """Shows the classes, training and configuration of a model, or the values of a preset and where they come from.

    Example: multibox info runs/first/model.safetensors

    Of googlenet it shows what each variant weighs; with --table or a variant's options, every layer of that one.

    Example: multibox info googlenet --table
    """
    variant_given = block is not None or norm is not None or five_kernel is not None
    if model == NETWORK:
        if set_:
            raise InputError(
                "--set changes presets; for googlenet use --block, --norm, --five-kernel, --side, --classes"
            )
        sizes = (side or PAPER_SIDE, classes or PAPER_CLASSES)
        if table or variant_given:
            _show_table(_read_variant(block, norm, five_kernel), *sizes)
        else:
            _show_variants(*sizes)
        return
    if table or variant_given or side is not None or classes is not None:
        raise InputError(
            f"{model}: --table, --block, --norm, --five-kernel, --side and --classes are for the network itself; "
            "write: multibox info googlenet --table"
        )
    if _is_file(model):
        if set_:
            raise InputError(f"{model}: --set is for presets; a model is shown as it is")
        _show_file(Path(model))
    elif model in preset_names(PretrainConfig):
        _show_values(PretrainConfig, model, list(set_ or []))
    else:
        parameters = _count_parameters(_show_values(Config, model, list(set_ or [])))
        console.print(f"{parameters:,} parameters with one class")


def _is_file(name: str) -> bool:
    """Whether a model is meant; a folder with a preset's name, as data sets have, that holds no model is not one."""
    path = Path(name)
    if path.suffix in (".safetensors", *EXPORTED):
        return True
    is_preset = name in (*preset_names(Config), *preset_names(PretrainConfig))
    return path.is_dir() and (model_file(path).is_file() or not is_preset)


def _show_file(path: Path) -> None:
    """Shows a detector or a classifier.

    Raises:
        InputError: If it is none.
    """
    if path.suffix in EXPORTED:
        raise InputError(f"{path}: an exported file; `multibox info` reads the model that it was made of")
    if file_format(path) == CLASSIFIER_FORMAT:
        _show_classifier(model_file(path))
    else:
        _show_model(path)


def _read_variant(block: str | None, norm: str | None, five_kernel: int | None) -> Variant:
    """The variant of the options; those that are missing are the paper's.

    Raises:
        InputError: If there is no such variant.
    """
    try:
        return Variant(
            cast(Block, PAPER.block if block is None else block),
            cast(Norm, PAPER.norm if norm is None else norm),
            PAPER.five_kernel if five_kernel is None else five_kernel,
        )
    except ValueError as error:
        raise InputError(f"no such network: {error}") from error


def _describe(variant: Variant) -> tuple[str, str, str]:
    """Block, normalisation, and the kernel of the 5x5 branch: ``split`` if smaller ones replace it."""
    kernel = "split" if variant.block == "factorized" else f"{variant.five_kernel}x{variant.five_kernel}"
    return variant.block, variant.norm, kernel


def _show_table(variant: Variant, side: int, classes: int) -> None:
    rows = table_rows(variant, side=side, num_classes=classes)
    rows.append(total_row(rows))
    block, norm, kernel = _describe(variant)
    console.print(f"GoogLeNet: {block}, {norm}, 5x5 branch {kernel}; {side} x {side} pixels, {classes} classes")
    console.print(_rows_table(rows))
    for row in rows:
        if row.remark:
            console.print(f"{row.name}: {row.remark}")
    totals = count_totals(variant, side=side, num_classes=classes)
    console.print(f"{totals.parameters:,} parameters with biases and normalisation")
    console.print(f"{totals.parameters_with_auxiliary:,} with the auxiliary classifiers, which only training has")


def _rows_table(rows: list[TableRow]) -> Table:
    """Weights and multiply-adds, and the paper's figures if there are any."""
    printed = rows[0].printed_params is not None
    table = Table("layer", "output")
    for title in ("weights", "in Ki", *["paper"] * printed, "ops, M", *["paper"] * printed):
        table.add_column(title, justify="right")
    for row in rows:
        params = ["" if row.printed_params is None else f"{row.printed_params:,g}"] * printed
        ops = ["" if row.printed_ops is None else f"{row.printed_ops:,g}"] * printed
        counted = f"{row.weights:,}", f"{row.weights / 1024:,.1f}"
        size = "x".join(map(str, row.output_hwc))
        table.add_row(row.name, size, *counted, *params, f"{row.multiply_adds / 1e6:,.1f}", *ops)
    return table


def _show_variants(side: int, classes: int) -> None:
    console.print(f"GoogLeNet with {classes} classes; multiply-adds (ops) at {side} x {side} pixels")
    table = Table("block", "norm", "5x5 branch")
    for title in ("parameters", "with auxiliary", "ops, M"):
        table.add_column(title, justify="right")
    for variant in list_variants():
        totals = count_totals(variant, side=side, num_classes=classes)
        numbers = f"{totals.parameters:,}", f"{totals.parameters_with_auxiliary:,}"
        table.add_row(*_describe(variant), *numbers, f"{totals.multiply_adds / 1e6:,.1f}")
    console.print(table)
    console.print("Every layer of one: multibox info googlenet --table --block reduced --norm lrn --five-kernel 5")


def _show_training(training: Mapping[str, Any]) -> None:
    for name, value in training.items():
        if name == "validation" and isinstance(value, dict):
            value = {number: each for number, each in value.items() if ":" not in number}  # not those of every class
        if name != "image_digests":  # digests, which tell people nothing
            console.print(f"{name}: {value}")


def _show_model(path: Path) -> None:
    tensors, header = load_model(path)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    size = model_file(path).stat().st_size / 2**20
    console.print(f"{model_file(path)}: {parameters:,} numbers, {size:.1f} MiB")
    table = Table("label", "id", "class")
    for label, (number, name) in enumerate(zip(header.category_ids, header.class_names, strict=True)):
        table.add_row(str(label), str(number), name)
    console.print(table)
    _show_training(header.training)
    if header.calibration is not None:
        try:
            Calibration.from_header(header.calibration, header.class_names)
        except (ValueError, OverflowError) as error:
            raise InputError(f"{model_file(path)}: {error}") from error
        console.print(f"calibration: {header.calibration['fitted_on']}")
        for name, numbers in header.calibration["classes"].items():
            console.print(f"  {name}: {numbers}")
    console.print(header.note)
    for section, values in header.config.items():
        console.print(f"{section}: {values}")


def _show_classifier(path: Path) -> None:
    header = load_classifier_header(path)
    console.print(f"{path}: a classifier, {path.stat().st_size / 2**20:.1f} MiB, {len(header.class_names)} classes")
    for section in ("variant", "preprocessing", "training", "recipe"):
        for name, value in getattr(header, section).items():
            console.print(f"{section}.{name}: {value}")
    console.print(header.note)


def _show_values(schema: type[Schema], name: str, overrides: list[str]) -> Schema:
    """Every value of a preset, where it comes from, and the whole as a file."""
    config = load_config(name, overrides, schema=schema)
    origins = config_origins(name, overrides, schema=schema)
    table = Table("value", "", "from")
    for key, value in flatten_config(config).items():
        table.add_row(key, str(value), origins[key])
    console.print(table)
    console.print(f"As a file to start from, with the meaning of each value:\n{dump_config(config)}", end="")
    return config


def _count_parameters(config: Config) -> int:
    return sum(parameter.numel() for parameter in build_whole_network(config, num_classes=1).parameters())


if __name__ == "__main__":
    run_alone(info)

"""Table 1 of "Going deeper with convolutions" (1409.4842), counted: weights and multiply-adds of every row.

Legend: H/W/C height, width and channels. Weights are those of convolutions and linear layers, without biases and
normalisation, as the paper counts them.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from itertools import product
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from backbone.googlenet import GoogLeNet
from backbone.variant import FIVE_KERNELS, PAPER, Block, Norm, Variant

PAPER_SIDE = 224
PAPER_CLASSES = 1000


class PrintedRow(NamedTuple):
    """One row of the paper: the modules it means, its weights in units of 1,024, its multiply-adds in millions."""

    modules: tuple[str, ...]
    params: float
    ops: float


TABLE_1: dict[str, PrintedRow] = {
    "conv 7x7/2": PrintedRow(("conv1",), 2.7, 34),
    "conv 3x3": PrintedRow(("conv2", "conv3"), 112, 360),
    "inception 3a": PrintedRow(("inception3a",), 159, 128),
    "inception 3b": PrintedRow(("inception3b",), 380, 304),
    "inception 4a": PrintedRow(("inception4a",), 364, 73),
    "inception 4b": PrintedRow(("inception4b",), 437, 88),
    "inception 4c": PrintedRow(("inception4c",), 463, 100),
    "inception 4d": PrintedRow(("inception4d",), 580, 119),
    "inception 4e": PrintedRow(("inception4e",), 840, 170),
    "inception 5a": PrintedRow(("inception5a",), 1072, 54),
    "inception 5b": PrintedRow(("inception5b",), 1388, 71),
    "linear": PrintedRow(("fc",), 1000, 1),
}
"""The figures as printed, slips included; rows without weights left out."""

REASONS = {
    "conv 7x7/2": "a 7x1 and a 1x7 convolution, 2 x 7 x 3 x 64 = 2,688 weights and 33.7 M, would give both",
    "inception 4c": "its ops fit its widths, so the slip is in this column alone",
    "inception 5a": "widths not its own; 48 instead of 32 before the 5x5, 1,081 Ki and 54.2 M, come near",
    "total": "nearly all of it is conv 7x7/2",
}
"""Why a printed figure deviates, where a reason is known or likely."""


class TableRow(NamedTuple):
    """One row, counted, beside what the paper prints.

    Attributes:
        name: The paper's name of the row.
        output_hwc: (H, W, C) of a map, (C,) of the linear layer, () of the total.
        weights: Weights, without biases.
        printed_params: The paper's figure in units of 1,024; None if the paper does not describe this network.
        multiply_adds: Multiply-adds for one image.
        printed_ops: The paper's figure in millions, or None.
        remark: By how much the paper's figures deviate, and why; empty if they do not.
    """

    name: str
    output_hwc: tuple[int, ...]
    weights: int
    printed_params: float | None
    multiply_adds: int
    printed_ops: float | None
    remark: str


class Totals(NamedTuple):
    """Parameters (biases and normalisation included) without and with auxiliary classifiers, and multiply-adds."""

    parameters: int
    parameters_with_auxiliary: int
    multiply_adds: int


def _output_shapes(network: GoogLeNet, size_hw: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shape of what each module answers to one image, in evaluation mode; nothing is computed."""
    twin = copy.deepcopy(network).to("meta").eval()
    shapes: dict[str, tuple[int, ...]] = {}

    def keep(name: str, _module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        shapes[name] = tuple(output.shape)

    for name, module in twin.named_modules():
        if module is not twin:
            module.register_forward_hook(partial(keep, name))
    images = torch.empty(1, 3, *size_hw, device="meta")
    if twin.fc is None:
        twin.features(images)
    else:
        twin(images)
    return shapes


def count_multiply_adds(network: GoogLeNet, size_hw: tuple[int, int]) -> dict[str, int]:
    """Multiply-adds of one image in every convolution and linear layer: weights times places of the output.

    Args:
        network: Is left as it is, on whatever device; not one with fused convolutions.
        size_hw: Height and width of the image.

    Returns:
        Module name -> multiply-adds, in evaluation mode: the auxiliary classifiers are not among them.
    """
    shapes = _output_shapes(network, size_hw)
    return {
        name: module.weight.numel() * math.prod(shapes[name][2:])
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and name in shapes
    }


def count_weights(module: nn.Module) -> int:
    """Weights of the convolutions and linear layers in ``module``, without biases and normalisation."""
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear))


def deviates(printed: float, counted: float) -> bool:
    """Whether a printed figure is off by more than 1 %, and by more than rounding to a whole unit explains."""
    return abs(printed - counted) > max(0.01 * counted, 0.5)


def _remark(name: str, weights: int, multiply_adds: int, printed: tuple[float | None, float | None]) -> str:
    columns = (("params", printed[0], weights / 1024), ("ops", printed[1], multiply_adds / 1e6))
    off = [
        f"{column} {100 * (figure / counted - 1):+.1f} %"
        for column, figure, counted in columns
        if figure is not None and deviates(figure, counted)
    ]
    return f"{', '.join(off)}: {REASONS.get(name, 'reason unknown')}" if off else ""


def table_rows(variant: Variant = PAPER, *, side: int = PAPER_SIDE, num_classes: int = PAPER_CLASSES) -> list[TableRow]:
    """Counts every row of table 1 for any network.

    Args:
        variant: The network.
        side: Height and width of its image.
        num_classes: Classes of its linear layer.

    Returns:
        One row for each of ``TABLE_1``. The paper's figures stand beside them only where its widths, kernels, side and
        classes are these; the normalisation has no weights that it counts.
    """
    network = _build(variant, num_classes)
    shapes, multiply_adds = _output_shapes(network, (side, side)), count_multiply_adds(network, (side, side))
    of_paper = variant.block == PAPER.block and variant.five_kernel == PAPER.five_kernel
    of_paper = of_paper and (side, num_classes) == (PAPER_SIDE, PAPER_CLASSES)
    rows = []
    for name, row in TABLE_1.items():
        _, channels, *size_hw = shapes[row.modules[-1]]
        weights = sum(count_weights(network.get_submodule(module)) for module in row.modules)
        ops = sum(count for layer, count in multiply_adds.items() if layer.split(".")[0] in row.modules)
        printed = (row.params, row.ops) if of_paper else (None, None)
        remark = _remark(name, weights, ops, printed)
        rows.append(TableRow(name, (*size_hw, channels), weights, printed[0], ops, printed[1], remark))
    return rows


def total_row(rows: list[TableRow]) -> TableRow:
    """The sums of both columns, ours and the paper's, as one more row."""
    weights, ops = sum(row.weights for row in rows), sum(row.multiply_adds for row in rows)
    params = [row.printed_params for row in rows if row.printed_params is not None]
    printed_ops = [row.printed_ops for row in rows if row.printed_ops is not None]
    printed = (sum(params) if params else None, sum(printed_ops) if printed_ops else None)
    return TableRow("total", (), weights, printed[0], ops, printed[1], _remark("total", weights, ops, printed))


def count_totals(variant: Variant, *, side: int = PAPER_SIDE, num_classes: int = PAPER_CLASSES) -> Totals:
    """Parameters and multiply-adds of a whole network."""
    network = _build(variant, num_classes, auxiliary=True)
    parameters = {name: sum(p.numel() for p in child.parameters()) for name, child in network.named_children()}
    total, auxiliary = sum(parameters.values()), parameters["aux1"] + parameters["aux2"]
    return Totals(total - auxiliary, total, sum(count_multiply_adds(network, (side, side)).values()))


def list_variants() -> list[Variant]:
    """Every network there is; ``factorized`` once for each normalisation, because it has no 5x5 kernel to choose."""
    every = (Variant(*options) for options in product(get_args(Block), get_args(Norm), FIVE_KERNELS))
    return [variant for variant in every if variant.block != "factorized" or variant.five_kernel == FIVE_KERNELS[0]]


def _build(variant: Variant, num_classes: int, *, auxiliary: bool = False) -> GoogLeNet:
    """A network of shapes alone."""
    with torch.device("meta"):
        return GoogLeNet(num_classes, variant=variant, auxiliary=auxiliary)

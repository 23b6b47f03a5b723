"""The table of the paper, counted: by hand, against a second counter, and beside what is printed."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import GoogLeNet_Weights

from backbone import PAPER, GoogLeNet, Variant
from backbone.googlenet import INCEPTION_TABLE
from backbone.inception import InceptionBlock
from backbone.table import (
    REASONS,
    TABLE_1,
    count_multiply_adds,
    count_totals,
    count_weights,
    deviates,
    list_variants,
    table_rows,
    total_row,
)
from tests.backbone.networks import VARIANTS, count_conv_weights, name_variant

# PAPERS.md 1.1: output, weights and multiply-adds in millions recomputed from the widths; params and ops as printed.
BY_HAND = {
    "conv 7x7/2": ((112, 112, 64), 9_408, 118.0, 2.7, 34),
    "conv 3x3": ((56, 56, 192), 114_688, 359.7, 112, 360),
    "inception 3a": ((28, 28, 256), 163_328, 128.0, 159, 128),
    "inception 3b": ((28, 28, 480), 388_096, 304.3, 380, 304),
    "inception 4a": ((14, 14, 512), 375_552, 73.6, 364, 73),
    "inception 4b": ((14, 14, 512), 448_512, 87.9, 437, 88),
    "inception 4c": ((14, 14, 512), 509_440, 99.9, 463, 100),
    "inception 4d": ((14, 14, 528), 604_672, 118.5, 580, 119),
    "inception 4e": ((14, 14, 832), 867_328, 170.0, 840, 170),
    "inception 5a": ((7, 7, 832), 1_042_432, 51.1, 1072, 54),
    "inception 5b": ((7, 7, 1024), 1_442_816, 70.7, 1388, 71),
    "linear": ((1000,), 1_024_000, 1.0, 1000, 1),
}


def build_shapes(variant: Variant, num_classes: int | None = None, *, auxiliary: bool = False) -> GoogLeNet:
    """A network without numbers."""
    with torch.device("meta"):
        return GoogLeNet(num_classes, variant=variant, auxiliary=auxiliary)


def test_the_rows_are_those_counted_by_hand() -> None:
    rows = table_rows()
    counted = {
        row.name: (row.output_hwc, row.weights, round(row.multiply_adds / 1e6, 1), row.printed_params, row.printed_ops)
        for row in rows
    }
    assert counted == BY_HAND


def test_the_sums() -> None:
    total = total_row(table_rows())
    assert total.weights == 6_990_272
    assert total.multiply_adds == 1_582_671_872
    assert total.printed_params == pytest.approx(6_797.7)
    assert total.printed_ops == 1_502
    assert total.output_hwc == ()


def test_multiply_adds_by_hand() -> None:
    counted = count_multiply_adds(build_shapes(PAPER, 1000), (224, 224))
    assert counted["conv1.conv"] == 7 * 7 * 3 * 64 * 112 * 112 == 118_013_952
    assert counted["inception4a.branch3.1.conv"] == 5 * 5 * 16 * 48 * 14 * 14 == 3_763_200
    assert counted["fc"] == 1024 * 1000
    assert len(counted) == 3 + 9 * 6 + 1


@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_a_second_counter_agrees(variant: Variant) -> None:
    """Torch counts two operations for each multiply-add; here with odd sides and kernels that are not square."""
    network = build_shapes(variant, 10).eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 75, 134, device="meta"))
    assert 2 * sum(count_multiply_adds(network, (75, 134)).values()) == counter.get_total_flops()


def test_counting_leaves_the_network_alone() -> None:
    network = GoogLeNet(10, auxiliary=True).train()
    counted = count_multiply_adds(network, (64, 64))
    assert counted == count_multiply_adds(build_shapes(Variant(), 10), (64, 64))  # nothing of the auxiliary ones
    assert network.training
    assert network.conv1.conv.weight.device.type == "cpu"
    assert not any(module._forward_hooks for module in network.modules())


def test_a_trunk_is_counted_too() -> None:
    trunk, whole = (count_multiply_adds(build_shapes(PAPER, classes), (224, 224)) for classes in (None, 1000))
    assert whole == {**trunk, "fc": 1_024_000}


def test_exactly_the_slips_are_remarked() -> None:
    rows = table_rows()
    remarks = {row.name: row.remark.partition(": ")[0] for row in [*rows, total_row(rows)] if row.remark}
    assert remarks == {
        "conv 7x7/2": "params -70.6 %, ops -71.2 %",
        "inception 4c": "params -6.9 %",
        "inception 4d": "params -1.8 %",
        "inception 5a": "params +5.3 %, ops +5.7 %",
        "inception 5b": "params -1.5 %",
        "total": "ops -5.1 %",
    }
    assert set(REASONS) <= set(remarks)  # no reason for a figure that is right
    for row in rows:
        reason = REASONS.get(row.name, "reason unknown") if row.name in remarks else ""
        assert row.remark.endswith(reason)


def test_the_reasons_can_be_computed() -> None:
    """Conv1: 7x1 and 1x7 kernels at 112 x 112 places. 5a: 48 reductions before the 5x5 at 7 x 7 places."""
    assert 2 * 7 * 3 * 64 == 2_688
    assert 2_688 * 112 * 112 / 1e6 == pytest.approx(33.7, abs=0.05)
    wider = InceptionBlock(832, INCEPTION_TABLE["inception5a"]._replace(five_reduce=48), variant=PAPER)
    assert count_conv_weights(wider) == 1081 * 1024
    assert count_conv_weights(wider) * 49 / 1e6 == pytest.approx(54.2, abs=0.05)


@pytest.mark.parametrize(
    ("printed", "counted", "expected"),
    [
        (101, 100, False),
        (101.1, 100, True),
        (98.9, 100, True),
        (1, 1.024, False),  # 2.4 % off, because a whole million is printed
        (1, 1.49, False),
        (1, 1.51, True),
    ],
)
def test_more_than_a_hundredth_and_more_than_rounding(printed: float, counted: float, expected: bool) -> None:
    assert deviates(printed, counted) is expected


@pytest.mark.parametrize(
    ("variant", "side", "num_classes", "expected"),
    [
        (PAPER, 224, 1000, True),
        (Variant("reduced", "batchnorm", 5), 224, 1000, True),  # the same weights without biases
        (Variant("reduced", "lrn", 3), 224, 1000, False),
        (Variant("naive", "lrn", 5), 224, 1000, False),
        (Variant("factorized", "lrn", 5), 224, 1000, False),
        (PAPER, 448, 1000, False),
        (PAPER, 224, 10, False),
    ],
)
def test_the_figures_of_the_paper_stand_beside_its_own_network(
    variant: Variant, side: int, num_classes: int, expected: bool
) -> None:
    rows = table_rows(variant, side=side, num_classes=num_classes)
    rows.append(total_row(rows))
    for row in rows:
        assert (row.printed_params is not None) == (row.printed_ops is not None) == expected, row
    assert any(row.remark for row in rows) == expected
    assert rows[-2].output_hwc == (num_classes,)
    assert rows[0].output_hwc == (side // 2, side // 2, 64)


def test_every_weight_is_in_one_row() -> None:
    modules = [module for row in TABLE_1.values() for module in row.modules]
    network = build_shapes(PAPER, 1000)
    weighing = [name for name, module in network.named_children() if count_weights(module)]
    assert modules == weighing


def test_totals_of_the_paper_and_of_torchvision() -> None:
    assert count_totals(PAPER) == (6_998_552, 13_378_280, 1_582_671_872)
    ours = count_totals(Variant())
    meta = GoogLeNet_Weights.IMAGENET1K_V1.meta
    assert ours[:2] == (meta["num_params"], 13_004_888)
    assert round(ours.multiply_adds / 1e9, 3) == meta["_ops"]
    four_fold = 4 * (1_582_671_872 - 1_024_000) + 1_024_000  # all but the linear layer
    assert count_totals(PAPER, side=448).multiply_adds == four_fold


def test_variants_that_are_one_network_are_listed_once() -> None:
    listed = list_variants()
    assert len(listed) == len(set(listed)) == 10
    described = {
        (variant.block, variant.norm, variant.five_kernel * (variant.block != "factorized")) for variant in VARIANTS
    }
    assert {(v.block, v.norm, v.five_kernel * (v.block != "factorized")) for v in listed} == described

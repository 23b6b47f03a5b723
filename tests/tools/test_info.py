"""``multibox info googlenet``: the table of the paper and the variants beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.running import run_main as run


def read_rows(shown: str) -> dict[str, list[str]]:
    """Cells of the printed table by the first cell of their row."""
    lines = [line.strip("│").split("│") for line in shown.splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_the_table_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "googlenet", "--table") == 0
    shown = capsys.readouterr().out
    rows = read_rows(shown)
    assert rows["conv 7x7/2"] == ["112x112x64", "9,408", "9.2", "2.7", "118.0", "34"]
    assert rows["inception 4c"] == ["14x14x512", "509,440", "497.5", "463", "99.9", "100"]
    assert rows["linear"] == ["1000", "1,024,000", "1,000.0", "1,000", "1.0", "1"]
    assert rows["total"] == ["", "6,990,272", "6,826.4", "6,797.7", "1,582.7", "1,502"]
    assert len(rows) == 13
    noted = [line.partition(": ")[0] for line in shown.splitlines() if " %" in line]
    assert noted == ["conv 7x7/2", "inception 4c", "inception 4d", "inception 5a", "inception 5b", "total"]
    assert "6,998,552 parameters with biases" in shown
    assert "13,378,280 with the auxiliary classifiers" in shown
    assert max(map(len, shown.split("conv 7x7/2: ")[0].splitlines())) <= 80  # of a terminal


def test_the_table_of_another_variant_has_our_figures_alone(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--block", "naive", "--norm", "batchnorm", "--five-kernel", 3, "--side", 64, "--classes", 7)
    assert run("info", "googlenet", "--table", *options) == 0
    shown = capsys.readouterr().out
    rows = read_rows(shown)
    # 192 * 64 + 9 * 192 * 128 + 9 * 192 * 32 = 12288 + 221184 + 55296, at 8 x 8 places
    assert rows["inception 3a"] == ["8x8x416", "288,768", "282.0", "18.5"]
    assert rows["linear"] == ["7", "34,608", "33.8", "0.0"]  # 4944 * 7
    assert "naive, batchnorm, 5x5 branch 3x3; 64 x 64 pixels, 7 classes" in shown
    assert "paper" not in shown
    assert " %" not in shown


def test_naming_a_variant_shows_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "googlenet", "--norm", "batchnorm") == 0
    named = capsys.readouterr().out
    assert run("info", "googlenet", "--table", "--norm", "batchnorm") == 0
    assert capsys.readouterr().out == named
    assert "reduced, batchnorm, 5x5 branch 5x5" in named


def test_the_variants_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "googlenet") == 0
    lines = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in cells] for cells in lines]
    assert len(rows) == 10
    assert ["reduced", "lrn", "5x5", "6,998,552", "13,378,280", "1,582.7"] in rows
    assert ["reduced", "batchnorm", "3x3", "6,624,904", "13,004,888", "1,498.4"] in rows
    assert [row[:3] for row in rows if row[0] == "factorized"] == [
        ["factorized", "lrn", "split"],
        ["factorized", "batchnorm", "split"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["default", "--table"], "write: multibox info googlenet --table"),
        (["gone.safetensors", "--side", "64"], "write: multibox info googlenet --table"),
        (["googlenet", "--block", "fat"], "block: got 'fat', expected one of naive, reduced, factorized"),
        (["googlenet", "--norm", ""], "expected one of lrn, batchnorm"),
        (["googlenet", "--five-kernel", "0"], "five_kernel: got 0, expected one of 3, 5"),
        (["googlenet", "--set", "train.seed=1"], "--set changes presets"),
        (["gone.safetensors", "--set", "train.seed=1"], "--set is for presets"),
    ],
)
def test_wrong_input_is_answered_in_words(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("info", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_folder_of_data_does_not_hide_the_preset_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "voc").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run("info", "voc") == 0
    assert "preset voc" in capsys.readouterr().out
    assert run("info", "exported/model.onnx") == 2
    assert "an exported file" in capsys.readouterr().err

"""What the documentation tells people to type works: each page's blocks run in order, in a folder with small data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from configs.load import dump_config
from tests.builders import random_pixels, save_image, toy_images, write_voc
from tests.detection.tiny import tiny_config
from tests.tools.running import run_main

DOCS = Path(__file__).parent.parent / "docs"
SHORT = ["--config", "tiny.yaml", "--epochs", "1"]
MAY_FIND_SOMETHING = {"check"}  # exit code 1 tells findings, and small data have some


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shortened(line: str) -> list[str]:
    """The arguments of a command, a training cut to one pass of a tiny network."""
    arguments = shlex.split(line)[1:]
    if arguments[0] == "train":
        place = arguments.index("--minutes")
        arguments[place : place + 2] = SHORT
    return arguments


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as a reader has it: labelled data and photos."""
    write_voc(tmp_path / "my-data", {"trainval": toy_images(6), "test": toy_images(4, prefix="test", seed=1)})
    for number in range(3):
        save_image(tmp_path / f"photos/image{number}.jpg", random_pixels((60, 80), seed=number))
    (tmp_path / "tiny.yaml").write_text(dump_config(tiny_config()), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


PAGES = ("tutorial.md", "commands.md", "deployment.md")
"""In the order of their reading: later ones use what earlier ones made."""


@pytest.mark.slow
def test_every_command_and_snippet_of_the_pages(desk: Path) -> None:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines() if line]
    assert len(lines) >= 20
    for line in lines:
        assert line.startswith("multibox ")
        arguments = shortened(line)
        assert run_main(*arguments) in ({0, 1} if arguments[0] in MAY_FIND_SOMETHING else {0}), line
    assert (desk / "report/report.html").is_file()
    assert (desk / "compared").is_dir()
    assert (desk / "exported/int8/model.xml").is_file()
    snippets = blocks("python.md", "python") + blocks("deployment.md", "python")
    assert len(snippets) == 4
    for snippet in snippets:
        exec(compile(snippet, "python.md", "exec"), {})


def test_every_page_names_only_commands_and_options_that_are_there() -> None:
    from tools.main import COMMANDS

    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for command in re.findall(r"`multibox ([a-z]+)", page.read_text(encoding="utf-8")):
            assert command in COMMANDS, f"{page.name}: multibox {command}"

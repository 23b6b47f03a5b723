"""What the documentation tells people to type works: each page's blocks run in order, in a folder with small data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from configs.load import dump_config
from configs.pretraining import PretrainConfig
from configs.schema import Config
from configs.sections import field_names
from tests.builders import random_pixels, save_image, toy_images, write_voc
from tests.detection.tiny import tiny_config
from tests.tools.running import run_main
from tools.main import COMMANDS, app

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
    write_voc(
        tmp_path / "my-data",
        {
            "train": toy_images(6),
            "val": toy_images(4, prefix="val", seed=2),
            "test": toy_images(4, prefix="test", seed=1),
        },
    )
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


PROSE = {page.name: page.read_text(encoding="utf-8") for page in (*DOCS.glob("*.md"), DOCS.parent / "README.md")}
SECTIONS = "|".join(Config.model_fields)
FILES = ("json", "html", "txt", "py")


def options_of(command: str) -> set[str]:
    found = typer.main.get_command(app).get_command(None, command)  # type: ignore[attr-defined,arg-type]
    assert found is not None, f"no command {command}"
    return {option for parameter in found.params for option in parameter.opts} | {"--help"}


@pytest.mark.parametrize("page", sorted(PROSE))
def test_a_page_names_only_commands_and_options_that_are_there(page: str) -> None:
    for command, rest in re.findall(r"[`/ \n]multibox ([a-z]+)\b([^`\n#]*)", PROSE[page]):
        if command in COMMANDS:
            unknown = set(re.findall(r"(?<!\S)--[a-z0-9-]+", rest)) - options_of(command)
            assert not unknown, f"{page}: multibox {command} {unknown}"
    for command in re.findall(r"`multibox ([a-z]+)", PROSE[page]):
        assert command in COMMANDS, f"{page}: multibox {command}"


@pytest.mark.parametrize("page", sorted(set(PROSE) - {"decisions.md"}))
def test_a_page_names_only_values_that_are_there(page: str) -> None:
    known = {*field_names(Config), *field_names(PretrainConfig)}
    named = re.findall(rf"(?:`|--set[ =]'?)((?:{SECTIONS})\.[a-z_][a-z_.]*)", PROSE[page])
    assert not {name for name in named if name not in known and not name.endswith(FILES)}


def test_the_pages_name_values_and_options_at_all() -> None:
    assert len(re.findall(r"multibox [a-z]+ [^`\n]*--[a-z]", PROSE["README.md"])) >= 10
    assert "`train.workers`" in PROSE["troubleshooting.md"]

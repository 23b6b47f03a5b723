"""What setup.py promises: complete packages, honest licences, a version that the changelog knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from email.message import Message
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


def read_setup() -> dict[str, Any]:
    """The literal keyword arguments of ``setup(...)``, and the patterns of ``find_packages`` as ``packages``."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (call,) = (node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    values: dict[str, Any] = {}
    for keyword in call.keywords:
        value = keyword.value.keywords[0].value if isinstance(keyword.value, ast.Call) else keyword.value
        values[str(keyword.arg)] = ast.literal_eval(value)
    return values


SETUP = read_setup()


def find_licences(facts: Message) -> Iterator[str]:
    """Everything a distribution says about its licence. Of a whole licence text only the first line, its title:
    further down, the GPL itself speaks of the AGPL."""
    for name in ("License-Expression", "License", "Classifier"):
        for value in facts.get_all(name, []):
            if name != "Classifier" or value.startswith("License"):
                yield value.strip().partition("\n")[0]


def is_agpl(licence: str) -> bool:
    return "AGPL" in licence.upper() or "AFFERO" in licence.upper()


def walk_requirements(names: list[str]) -> dict[str, metadata.Distribution]:
    """Installed distributions that ``names`` lead to, themselves included. What is not installed is left out."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not applies or requirement.name.lower() in found:
            continue
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        found[requirement.name.lower()] = distribution
        waiting.extend(Requirement(line) for line in distribution.requires or [])
    return found


def test_nothing_we_install_is_agpl() -> None:
    wanted = [*SETUP["install_requires"], *(name for extra in SETUP["extras_require"].values() for name in extra)]

    found = walk_requirements(wanted)

    assert {"torch", "numpy", "albumentations"} <= found.keys()
    licences = {name: list(find_licences(distribution.metadata)) for name, distribution in found.items()}  # type: ignore[arg-type]
    assert {name: texts for name, texts in licences.items() if any(map(is_agpl, texts))} == {}


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("License-Expression", "AGPL-3.0-or-later", True),
        ("License", "GNU Affero General Public License v3", True),
        ("Classifier", "License :: OSI Approved :: GNU Affero General Public License v3", True),
        ("Classifier", "Topic :: About AGPL", False),
        ("License", "GPL-3.0\n\n13. Use with the GNU Affero General Public License.", False),
        ("License-Expression", "Apache-2.0", False),
    ],
)
def test_the_licence_check_sees_agpl(header: str, value: str, expected: bool) -> None:
    facts = Message()
    facts[header] = value

    assert any(map(is_agpl, find_licences(facts))) is expected


def test_every_package_is_installed() -> None:
    code = ("backbone", "proposals", "detection", "configs", "tools")
    packages = {
        ".".join(file.parent.relative_to(ROOT).parts) for folder in code for file in (ROOT / folder).rglob("*.py")
    }

    left_out = {name for name in packages if not any(fnmatch(name, pattern) for pattern in SETUP["packages"])}

    assert left_out == set()
    for name in packages:
        assert (ROOT.joinpath(*name.split(".")) / "__init__.py").is_file(), f"{name} has no __init__.py"


def test_every_data_file_is_installed() -> None:
    for name in ("backbone", "configs", "detection/evaluation"):
        patterns = SETUP["package_data"][name.replace("/", ".")]
        files = [file.relative_to(ROOT / name) for file in (ROOT / name).rglob("*.*") if file.is_file()]
        data = [file.as_posix() for file in files if file.suffix not in {".py", ".pyc"}]
        assert data, name
        assert [file for file in data if not any(fnmatch(file, pattern) for pattern in patterns)] == []


def test_changelog_knows_the_version() -> None:
    assert SETUP["version"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_bounds_are_lower_ones_but_for_the_named_exceptions() -> None:
    bounded = {line for line in SETUP["install_requires"] if "<" in line or "==" in line or "~=" in line}

    # albumentations' successor is AGPL; pydantic breaks its interface with each major version.
    assert bounded == {"albumentations>=2.0.8,<3", "pydantic>=2.7,<3"}

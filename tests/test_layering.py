"""The shape of the project: which package may import which, and which files may exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {
    "backbone": set[str](),
    "proposals": {"backbone"},
    "detection": {"backbone", "proposals"},
    "tools": {"backbone", "proposals", "detection", "configs"},
    "configs": set[str](),
}
READS_CONFIG = {
    "detection/build.py",
    "detection/build_parts.py",
    "detection/build_training.py",
    "detection/classification/build.py",
    "detection/crop/build.py",
}

FOLDERS = {*MAY_IMPORT, "tests", "docs"}
PRODUCTS = {"build", "demo", "dist", "runs", "site"}  # what commands leave here; git ignores them
CATCH_ALLS = {"utils.py", "misc.py", "helpers.py"}
LONGEST_FILE = 400


def find_wrong_imports(file: Path, root: Path) -> list[str]:
    """Imports in ``file`` that the layers forbid, each with its line; an import inside a function counts too."""
    place = file.relative_to(root)
    layer = place.parts[0]
    allowed = {layer} | MAY_IMPORT[layer] | ({"configs"} if place.as_posix() in READS_CONFIG else set())
    wrong = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for name in _imported_packages(node):
            if name in FOLDERS - allowed:
                wrong.append(f"{place.as_posix()}:{getattr(node, 'lineno', 0)} imports {name}")
    return wrong


def _imported_packages(node: ast.AST) -> list[str]:
    """First parts of what a statement imports; a relative import stays within its own package."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [(node.module or "").partition(".")[0]]
    return []


def find_source_files() -> list[Path]:
    """All Python files of the packages and tests."""
    return sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))


def test_imports_go_one_way() -> None:
    wrong = [
        line
        for file in find_source_files()
        if file.parts[len(ROOT.parts)] in MAY_IMPORT
        for line in find_wrong_imports(file, ROOT)
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("backbone/a.py", "import proposals.box_ops", ["backbone/a.py:1 imports proposals"]),
        ("backbone/a.py", "import torch, detection", ["backbone/a.py:1 imports detection"]),
        ("proposals/a.py", "from backbone.googlenet import GoogLeNet", []),
        ("proposals/a.py", "def f():\n    from detection import x", ["proposals/a.py:2 imports detection"]),
        ("detection/a.py", "from proposals import box_ops\nimport backbone", []),
        ("detection/a.py", "import configs.schema", ["detection/a.py:1 imports configs"]),
        ("detection/data/build.py", "import configs", ["detection/data/build.py:1 imports configs"]),
        ("detection/build.py", "from configs.schema import Config", []),
        ("detection/build.py", "import tools.main", ["detection/build.py:1 imports tools"]),
        ("detection/data/a.py", "from . import records\nfrom ..errors import InputError", []),
        ("tools/a.py", "import configs, detection, proposals, backbone", []),
        ("tools/a.py", "from tests import builders", ["tools/a.py:1 imports tests"]),
        ("configs/a.py", "from detection.errors import InputError", ["configs/a.py:1 imports detection"]),
    ],
)
def test_the_check_sees_wrong_imports(tmp_path: Path, file: str, source: str, expected: list[str]) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")

    assert find_wrong_imports(path, tmp_path) == expected


def test_no_catch_all_files() -> None:
    assert [file for file in find_source_files() if file.name in CATCH_ALLS] == []


def test_no_file_is_too_long() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in find_source_files()}

    assert {file: length for file, length in lengths.items() if length > LONGEST_FILE} == {}


def test_top_level_holds_only_the_agreed_folders() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    found = {name for name in folders - PRODUCTS if not name.endswith(".egg-info")}

    assert found <= FOLDERS
    assert set(MAY_IMPORT) <= found

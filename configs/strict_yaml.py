"""YAML as configurations use it: plain values only, ``1e-3`` is a number, and a key stands once."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """SafeLoader that notes each key that stands twice, where PyYAML silently keeps the last one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Builds the mapping as usual and notes its duplicate keys."""
        first_line: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and first_line.setdefault(key.value, line) != line:
                self.duplicates.append(f"line {line}: {key.value} stands already in line {first_line[key.value]}")
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 asks for a dot and a signed exponent (1.0e-3); everybody writes 1e-3, which would arrive as text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str, where: str) -> tuple[object, list[str]]:
    """Reads one YAML document.

    Args:
        text: The document. Empty text is None.
        where: Name of its source, for the faults.

    Returns:
        Its value (None when it cannot be read), and its faults: a syntax error, a tag that asks for a Python object,
        or all keys that stand twice. Each names the source and the line.
    """
    try:
        loader = _Loader(text)
        value: object = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        return None, [f"{where}: {_describe(error)}"]
    # Control characters; impossible dates; `!!bool maybe`, `!!int ""`, `!!timestamp x`; thousands of brackets.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        return None, [f"{where}: {error}"]
    return value, [f"{where}: {duplicate}" for duplicate in loader.duplicates]


def _describe(error: yaml.MarkedYAMLError) -> str:
    """One line from an error that PyYAML spreads over several."""
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}{error.problem or error.context}"

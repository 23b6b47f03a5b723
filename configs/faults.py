"""Faults of a configuration in its own words: where, what was given and from where, what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from configs.sections import field_names

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "model_type": "a section of names and values",
    "missing": "a value here",
}


def explain(error: ValidationError, schema: type[BaseModel], origins: Mapping[str, str]) -> list[str]:
    """Tells each fault of a validation in the words of the configuration.

    Args:
        error: What pydantic found.
        schema: What it was checked against.
        origins: Where each given value came from, by dotted name; a name may be absent.

    Returns:
        One line per fault: dotted name, value given and its origin, what is expected.
    """
    return [_explain_one(details, schema, origins) for details in error.errors(include_url=False)]


def nearest(name: str, choices: Sequence[str]) -> str | None:
    """The choice that ``name`` was probably meant to be, or None."""
    matches = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _explain_one(details: ErrorDetails, schema: type[BaseModel], origins: Mapping[str, str]) -> str:
    name = ".".join(part for part in details["loc"] if isinstance(part, str))
    place = name + "".join(f"[{part}]" for part in details["loc"] if isinstance(part, int))
    given = repr(details["input"])
    origin = f" ({origins[name]})" if name in origins else ""
    if details["type"] == "extra_forbidden":
        return f"{place}: unknown name{origin}; {_suggest(name, schema)}"
    if details["type"] == "missing":
        given = "nothing"
    shown = given if len(given) <= 60 else given[:57] + "..."
    return f"{place}: got {shown}{origin}, expected {_expected(details)}"


def _expected(details: ErrorDetails) -> str:
    """What should have stood there, as the end of a sentence."""
    if details["type"] in _EXPECTED:
        return _EXPECTED[details["type"]]
    return details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")


def _suggest(unknown: str, schema: type[BaseModel]) -> str:
    """The nearest valid name: in the same section, else anywhere, else the names that the section has."""
    parent, _, leaf = unknown.rpartition(".")
    names = field_names(schema)
    siblings = [name for name in names if name.rpartition(".")[0] == parent]
    everywhere = {name.rpartition(".")[2]: name for name in names}
    near = nearest(leaf, [name.rpartition(".")[2] for name in siblings])
    if near:
        return f"did you mean {parent}.{near}?" if parent else f"did you mean {near}?"
    elsewhere = nearest(leaf, list(everywhere))
    if elsewhere:
        return f"did you mean {everywhere[elsewhere]}?"
    return f"valid names are {', '.join(siblings)}"

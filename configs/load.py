"""Reads a configuration: a preset or a YAML file, then ``--set`` overrides, then the schema's check of everything.

All faults are reported together in one :class:`~configs.errors.ConfigError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from configs.errors import ConfigError
from configs.faults import explain, nearest
from configs.sections import RootConfig
from configs.strict_yaml import parse_yaml

Schema = TypeVar("Schema", bound=RootConfig)

DEFAULT = "default"
"""Origin of a value that nobody changed."""


@dataclass
class _Settings:
    """What was given, before the schema has seen it: nested values, origin of each by dotted name, faults so far."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def load_config(name_or_path: str, overrides: Sequence[str] = (), *, schema: type[Schema]) -> Schema:
    """Reads a configuration and checks all of it.

    Args:
        name_or_path: Name of a preset (see :func:`preset_names`) or path of a YAML file. What a file leaves out takes
            the schema's default.
        overrides: ``section.name=value``, as given with ``--set``; the value is YAML. The last of a name wins.
        schema: What it is the configuration of.

    Returns:
        The configuration.

    Raises:
        ConfigError: If anything is wrong; names every fault with what was expected.
    """
    return _validate(_gather(name_or_path, overrides, schema), schema)


def config_from_dict(values: Mapping[str, Any], *, schema: type[Schema]) -> Schema:
    """Checks a nested mapping, for example the one stored in a checkpoint. What is absent takes the default.

    Raises:
        ConfigError: If anything is wrong; names every fault with what was expected.
    """
    return _validate(_Settings(values=dict(values)), schema)


def dump_config(config: RootConfig) -> str:
    """YAML of all values, each with its description as a comment. :func:`load_config` reads it back equal."""
    return "\n".join(_yaml_lines(config, indent="")) + "\n"


def config_origins(name_or_path: str, overrides: Sequence[str] = (), *, schema: type[Schema]) -> dict[str, str]:
    """Tells where each value of ``load_config(name_or_path, overrides)`` comes from.

    Returns:
        ``{"train.epochs": "--set", "train.seed": "default", ...}`` with every value of the schema in its order.
        Besides these two an origin is ``preset NAME`` or the path of the file.
    """
    origins = _gather(name_or_path, overrides, schema).origins
    return {name: origins.get(name, DEFAULT) for name in flatten_config(schema())}


def flatten_config(config: RootConfig) -> dict[str, Any]:
    """All values by dotted name, in the order of the schema; tuples become lists."""
    return dict(_leaves(config.model_dump(mode="json")))


def preset_names(schema: type[Schema]) -> tuple[str, ...]:
    """Names of the presets that come with the package, sorted."""
    files = [entry.name for entry in _preset_folder(schema).iterdir()]
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def _preset_folder(schema: type[Schema]) -> Traversable:
    return resources.files("configs").joinpath(schema.preset_folder)


def _validate(settings: _Settings, schema: type[Schema]) -> Schema:
    try:
        config = schema.model_validate(settings.values)
    except ValidationError as error:
        raise ConfigError(*settings.faults, *explain(error, schema, settings.origins)) from None
    if settings.faults:
        raise ConfigError(*settings.faults)
    return config


def _gather(name_or_path: str, overrides: Sequence[str], schema: type[Schema]) -> _Settings:
    """Reads the file and applies the overrides, without looking at the schema's rules."""
    settings = _read_file(name_or_path, schema)
    for override in overrides:
        _apply(override, settings)
    return settings


def _read_file(name_or_path: str, schema: type[Schema]) -> _Settings:
    """Reads a preset or a file; one that cannot be read gives no values and a fault."""
    if name_or_path in preset_names(schema):
        where = f"preset {name_or_path}"
        text = _preset_folder(schema).joinpath(f"{name_or_path}.yaml").read_text(encoding="utf-8")
    else:
        where = name_or_path
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except FileNotFoundError:
            return _Settings(faults=[_not_found(name_or_path, preset_names(schema))])
        except (OSError, ValueError) as error:  # a folder, no permission, not UTF-8
            return _Settings(faults=[f"{where}: cannot be read as text ({error})"])
    values, faults = parse_yaml(text, where)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        return _Settings(faults=[*faults, f"{where}: got {values!r}, expected sections of names and values"])
    filled = {name: _open_section(name, value, schema) for name, value in values.items()}
    return _Settings(filled, {name: where for name, _ in _leaves(filled)}, faults)


def _open_section(name: object, value: object, schema: type[BaseModel]) -> object:
    """A section whose lines are all commented out arrives as None; it means: all defaults."""
    return {} if value is None and name in schema.model_fields else value


def _not_found(name_or_path: str, presets: Sequence[str]) -> str:
    """Words for a name that is neither a preset nor a file."""
    near = nearest(name_or_path, presets)
    hint = f"did you mean {near}? " if near else ""
    return f"{name_or_path}: neither a file nor a preset; {hint}The presets are {', '.join(presets)}"


def _apply(override: str, settings: _Settings) -> None:
    """Writes one ``section.name=value`` into the settings, or a fault if it does not read so."""
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        settings.faults.append(f"--set {override}: expected section.name=value, for example train.epochs=20")
        return
    value, faults = parse_yaml(text, f"--set {name.strip()}")
    if faults:
        settings.faults.extend(faults)
        return
    _write(settings, parts, value)


def _write(settings: _Settings, path: Sequence[str], value: object) -> None:
    """Writes a value, or those of a section in braces, whose other values stay as they are."""
    node = settings.values
    for part in path[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            return  # the file gives this section a bare value, and the schema will say so
        node = child
    before = node.get(path[-1], {} if value else None)
    if isinstance(value, Mapping) and isinstance(before, Mapping):
        for name, each in value.items():
            _write(settings, [*path, str(name)], each)
    else:
        node[path[-1]] = value
        settings.origins[".".join(path)] = "--set"


def _leaves(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything that is not a mapping itself."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _yaml_lines(section: BaseModel, indent: str) -> Iterator[str]:
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _yaml_lines(value, indent + "  ")
        else:
            plain = list(value) if isinstance(value, tuple) else value
            text = yaml.safe_dump([plain], default_flow_style=True, width=10_000)[1:-2]  # without the brackets
            yield f"{indent}{name}: {text}  # {info.description}"

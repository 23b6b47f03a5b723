"""Packages that only some commands need; the user installs them as extras."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from detection.errors import InputError


def needed(module: str, extra: str) -> ModuleType:
    """A package of an extra, imported when it is needed.

    Raises:
        InputError: If it is not installed; says how to.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{module} is not installed; pip install 'multibox-rcnn[{extra}]'") from error

"""Packages that only some commands need; the user installs them as extras."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from detection.errors import InputError


def needed(module: str, extra: str) -> ModuleType:
    """A package of an extra, imported when it is needed.

    Raises:
        InputError: If it is not installed; says how to.
    """
    # OpenVINO and NNCF report every import to their maker through this package, unless it is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(module)
    except ImportError as error:
        raise _missing(module, extra) from error


def require(modules: Iterable[str], extra: str) -> None:
    """Looks for packages of an extra before the work that needs them, without importing them.

    Raises:
        InputError: If one is not installed; says how to.
    """
    for module in modules:
        if find_spec(module) is None:
            raise _missing(module, extra)


def _missing(module: str, extra: str) -> InputError:
    return InputError(f"{module} is not installed; pip install 'multibox-rcnn[{extra}]'")

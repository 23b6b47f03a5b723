"""GoogLeNet: the network of the ILSVRC-2014 entry, as a classifier and as a source of features."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backbone.googlenet import GoogLeNet, Stage
    from backbone.variant import PAPER, Variant

__all__ = ["PAPER", "GoogLeNet", "Stage", "Variant"]

_MODULES = {
    "PAPER": "backbone.variant",
    "GoogLeNet": "backbone.googlenet",
    "Stage": "backbone.googlenet",
    "Variant": "backbone.variant",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for, and torch with it, when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'backbone' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)

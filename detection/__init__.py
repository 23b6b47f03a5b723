"""The detector: data in, boxes with classes out. ``Detector.load(path).detect(folder)`` is the shortest way."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detection.detector import Detector
    from detection.structures import Detections, Target

__all__ = ["Detections", "Detector", "Target"]

_MODULES = {"Detector": "detection.detector", "Detections": "detection.structures", "Target": "detection.structures"}


def __getattr__(name: str) -> Any:
    """Imports what is asked for, and torch with it, when it is asked for: what needs neither starts at once."""
    if name not in _MODULES:
        raise AttributeError(f"module 'detection' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)

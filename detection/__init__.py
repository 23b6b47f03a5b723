"""The detector: data in, boxes with classes out. ``Detector.load(path).detect(folder)`` is the shortest way."""

from detection.detector import Detector
from detection.structures import Detections, Target

__all__ = ["Detections", "Detector", "Target"]

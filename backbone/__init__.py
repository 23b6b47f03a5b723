"""GoogLeNet: the network of the ILSVRC-2014 entry, as a classifier and as a source of features."""

from backbone.googlenet import GoogLeNet, Stage
from backbone.variant import PAPER, Variant

__all__ = ["PAPER", "GoogLeNet", "Stage", "Variant"]

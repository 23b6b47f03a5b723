"""GoogLeNet: the network of the ILSVRC-2014 entry, as a classifier and as a source of features."""

from backbone.googlenet import STAGES, GoogLeNet, Stage

__all__ = ["STAGES", "GoogLeNet", "Stage"]

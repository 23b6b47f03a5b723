"""Selective search: class-agnostic boxes by grouping regions (Uijlings et al. 2013, IJCV 104(2):154-171).

A picture is over-segmented in several colour spaces and at several scales (`segmentation`), each segmentation is
merged region by region into a hierarchy under several similarities (`regions`, `similarity`, `grouping`), and every
region of every hierarchy gives a box (`search`). `settings` says which combinations there are.
"""

from proposals.selective_search.search import selective_search
from proposals.selective_search.settings import FAST, QUALITY, SINGLE, SelectiveSearchSettings

__all__ = ["FAST", "QUALITY", "SINGLE", "SelectiveSearchSettings", "selective_search"]

"""Which hierarchies selective search builds: its diversification strategies (Uijlings et al. 2013, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

ColourSpace = Literal["hsv", "lab", "rgi", "hue", "intensity", "rgb"]
Similarity = Literal["colour", "texture", "size", "fill"]
Measure = tuple[Similarity, ...]
"""The similarities that are summed to say how alike two regions are."""

CTSF: Measure = ("colour", "texture", "size", "fill")
TSF: Measure = ("texture", "size", "fill")
FILL: Measure = ("fill",)
SIZE: Measure = ("size",)


@dataclass(frozen=True, kw_only=True)
class SelectiveSearchSettings:
    """Every combination of colour space, segment scale and measure is one strategy and gives one hierarchy.

    Attributes:
        colour_spaces: Where the picture is segmented and its histograms are taken.
        measures: By which regions are grouped; each a set of similarities.
        segment_scales: k of the over-segmentation, which is also the smallest size of a segment in pixels.
        superpixel_scale: Multiplies every k, and so the smallest segment too. GoogLeNet's detection entry (1409.4842,
            section 8) doubles "the superpixel size" to halve the proposals and does not say more; 2 is that reading.
        min_side: Boxes with a shorter side are left out; pixels of the picture that is searched. The released code
            leaves out those below 20, which no small object of COCO survives.
        width: To which the picture is scaled before the search, up or down; None searches it as it is.
        seed: Of the random part of the ranking.
    """

    colour_spaces: tuple[ColourSpace, ...]
    measures: tuple[Measure, ...]
    segment_scales: tuple[float, ...]
    superpixel_scale: float = 1.0
    min_side: int = 5
    width: int | None = 500
    seed: int = 0

    def __post_init__(self) -> None:
        _check_names("colour_spaces", self.colour_spaces, get_args(ColourSpace))
        for measure in self.measures:
            _check_names("each of the measures", measure, get_args(Similarity))
        if not self.measures:
            raise ValueError("measures must not be empty")
        if not self.segment_scales or min(self.segment_scales) <= 0:
            raise ValueError(f"segment_scales must be positive numbers, at least one, got {self.segment_scales}")
        if self.superpixel_scale <= 0:
            raise ValueError(f"superpixel_scale must be positive, got {self.superpixel_scale}")
        if self.min_side < 1:
            raise ValueError(f"min_side must be at least 1, got {self.min_side}")
        if self.width is not None and self.width < 1:
            raise ValueError(f"width must be at least 1 or None, got {self.width}")

    @property
    def num_strategies(self) -> int:
        """How many hierarchies a picture gets."""
        return len(self.colour_spaces) * len(self.measures) * len(self.segment_scales)


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raises ValueError unless ``names`` are some of ``known``, each once."""
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(f"{what} must be some of {', '.join(known)}, each once, got {tuple(names)}")


SINGLE = SelectiveSearchSettings(colour_spaces=("hsv",), measures=(CTSF,), segment_scales=(100,))
"""1 strategy: the best single one of the paper."""

FAST = SelectiveSearchSettings(colour_spaces=("hsv", "lab"), measures=(CTSF, TSF), segment_scales=(50, 100))
"""8 strategies, "selective search fast": about 2,000 boxes a picture from 20 pixels on, 3,400 from 5."""

QUALITY = SelectiveSearchSettings(
    colour_spaces=("hsv", "lab", "rgi", "hue", "intensity"),
    measures=(CTSF, TSF, FILL, SIZE),
    segment_scales=(50, 100, 150, 300),
)
"""80 strategies, "selective search quality": about 10,000 boxes a picture from 20 pixels on, 17,000 from 5."""

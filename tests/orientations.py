"""Pictures as a turned camera stores them, with the EXIF tag that says so."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

# Which side of the picture the first stored row and the first stored column show (EXIF 2.3, tag 274).
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored_pixels(upright: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """The pixels as a camera stores them that was held so."""
    row_side, column_side = SIDES[orientation]
    stored = upright if row_side in ("top", "bottom") else upright.transpose(1, 0, 2)
    stored = stored[::-1] if row_side in ("bottom", "right") else stored
    return np.ascontiguousarray(stored[:, ::-1] if column_side in ("bottom", "right") else stored)


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[274] = orientation
    return block

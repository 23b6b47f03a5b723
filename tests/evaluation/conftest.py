"""What several modules look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.evaluation.splits import SIZE_HW


@pytest.fixture
def image_path(tmp_path: Path) -> Path:
    """A grey image of the size of every record."""
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((*SIZE_HW, 3), 128, dtype=np.uint8))
    return path

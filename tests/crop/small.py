"""A detector of the crop form small enough for tests: crops of 64 pixels, two members."""

from __future__ import annotations

from typing import Any

from configs.load import config_from_dict
from configs.schema import Config
from tests.detection.tiny import tiny_config


def crop_config(method: str = "multibox", *, members: int = 2, box_regression: bool = True, **train: Any) -> Config:
    values = tiny_config(**train).model_dump(mode="json")
    values["proposals"] |= {"method": method, "selective_search": {"mode": "single", "max_boxes": 20}}
    crop = {"members": members, "side": 64, "context": 4, "batch": 16}
    values["classifier"] |= {"form": "crop", "box_regression": box_regression, "crop": crop}
    values["pyramid"]["finest_stride"] = 8  # crops are cut from the image; no region is pooled
    values["postprocess"]["score_threshold"] = 0.0
    return config_from_dict(values, schema=Config)

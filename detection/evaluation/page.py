"""What every page of results is made with: templates, files written whole, pictures inside the page."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from detection.atomic import atomic_path
from detection.evaluation.class_boxes import Floats
from detection.evaluation.texts import interval_text, number_text
from detection.preprocess import Image

_JPEG_QUALITY = 82


def script_json(document: Mapping[str, Any]) -> str:
    """JSON to stand inside ``<script type="application/json">``: no text in it can end the element.

    Everything beyond ASCII is escaped too, so the line separators U+2028 and U+2029 are.
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def script_text(name: str) -> tuple[str, str]:
    """A script of this package as it stands, and the word by which a page's policy lets it, and no other, run."""
    text = resources.files("detection.evaluation").joinpath(name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return text, f"sha256-{digest}"


def write_page(path: Path, template: str, content: Mapping[str, Any]) -> None:
    """Fills a template of this package and writes the page; every text is escaped.

    Args:
        path: The page.
        template: Name of the template.
        content: Its variables; one that is missing is an error.
    """
    environment = Environment(
        loader=PackageLoader("detection.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number_text
    environment.filters["interval"] = interval_text
    page = environment.get_template(template).render(content)
    with atomic_path(path) as draft:
        draft.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")


def xywh(box: Floats) -> tuple[float, float, float, float]:
    """A (4,) xyxy box as the pages write it: left, top, width, height to a tenth of a pixel."""
    left, top, right, bottom = box.tolist()
    return round(left, 1), round(top, 1), round(right - left, 1), round(bottom - top, 1)


def scale_image(image: Image, scale: float) -> Image:
    """Scales an (H, W, 3) image; no side falls below one pixel."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def jpeg_uri(image: Image) -> str:
    """Encodes an RGB image as a data URI."""
    encoded, buffer = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert encoded, "OpenCV encodes every uint8 image as JPEG"
    return "data:image/jpeg;base64," + base64.b64encode(buffer.tobytes()).decode("ascii")

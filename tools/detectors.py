"""Detectors as the commands want them: one or several models, in one pass or in several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detection.build import load_detector
from detection.checkpoint import sha256_of
from detection.detector import Detector
from detection.errors import InputError
from detection.export.engine import engine_file, engine_files, load_exported
from detection.fused_detectors import FusedDetectors, check_same_classes
from detection.image_detector import ImageDetector, ModelDetector
from detection.tiling import OVERLAP, TiledDetector
from detection.views import SCALE, augmented_views

TileOption = Annotated[
    int | None,
    typer.Option(
        min=32,
        metavar="N",
        help="Cut images larger than N pixels into overlapping tiles of N, and look at the whole image as well: for "
        "small objects in large images. Costs a pass a tile, about 1.6 (width/N) (height/N) of them.",
    ),
]
TtaOption = Annotated[
    bool,
    typer.Option(
        "--tta", help="Look at each image, its mirror image and both enlarged, and fuse the answers: 5 times the time."
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        help="torch, openvino or onnx; the latter two run what `multibox export` wrote. "
        "[default: what the file is for; of several in a folder torch, else openvino]"
    ),
]
ComputeOption = Annotated[
    str,
    typer.Option(
        help="Numbers of the layers: float32, bfloat16, or auto, which takes the faster bfloat16 where the machine "
        "multiplies it itself. ONNX Runtime has float32 alone."
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps the proposals of selective search, for models that use it: made once an image."
    ),
]


def open_model(
    path: Path, *, engine: str | None, device: str, compute: str, cache: Path | None = None, lanes: int = 1
) -> ModelDetector:
    """Loads a model file, or that of a folder, for the engine that runs it; ``lanes`` as for ``load_exported``.

    Raises:
        InputError: If there is none for the engine, it cannot be loaded, or an option does not go with it.
    """
    chosen, file = engine_file(path, engine)
    if chosen == "torch":
        return load_detector(file, device=device, precision=compute, cache=cache)
    if device not in ("auto", "cpu"):
        raise InputError(f"--device {device}: exported files run on the processor; leave it out, or use --engine torch")
    return load_exported(file, lanes=lanes, precision=compute)


def model_digest(path: Path, engine: str | None) -> str:
    """SHA-256 of the files of a model; arguments as for ``open_model``."""
    return sha256_of(engine_files(*engine_file(path, engine)))


def load_models(
    console: Console,
    paths: Sequence[Path],
    *,
    engine: str | None,
    device: str,
    compute: str,
    cache: Path | None = None,
    lanes: int = 1,
) -> list[ModelDetector]:
    """Loads models that answer together, and says which is which if there are several.

    Raises:
        InputError: If one cannot be loaded, or their classes or category ids differ.
    """
    models: list[ModelDetector] = []
    for number, path in enumerate(paths, start=1):
        if len(paths) > 1:
            console.print(f"model {number}: {path}")
        models.append(open_model(path, engine=engine, device=device, compute=compute, cache=cache, lanes=lanes))
    check_same_classes(models)
    tell_idle_cache(console, cache, models)
    return models


def tell_idle_cache(console: Console, cache: Path | None, models: Sequence[ModelDetector]) -> None:
    """Says so when there is nothing to keep in a folder for proposals."""
    if cache is not None and not any(isinstance(model, Detector) and model.regions is not None for model in models):
        console.print("note: --cache has no effect here: it keeps the proposals of models that use selective search")


def combine(models: Sequence[ModelDetector], *, tile: int | None, tta: bool) -> ImageDetector:
    """One detector that asks all models, in all views; a single model in a single view is returned as it is.

    Tiles come last: each tile is put to all models and views, so that parts are joined once, from fused boxes.

    Args:
        models: Of the same classes.
        tile: Side of the tiles; None cuts nothing.
        tta: Whether every model also sees mirrored and enlarged images.

    Raises:
        InputError: If an exported model is to see enlarged images: its graph scales all to one size.
    """
    views: list[ImageDetector] = []
    for model in models:
        if not tta:
            views.append(model)
        elif isinstance(model, Detector):
            views.extend(augmented_views(model))
        else:
            raise InputError(
                "--tta: an exported file scales all images to one size; leave it out, or use --engine torch"
            )
    most = max(model.max_detections for model in models)
    combined: ImageDetector = views[0] if len(views) == 1 else FusedDetectors(views, max_detections=most)
    return combined if tile is None else TiledDetector(combined, tile=tile)


def describe_passes(*, tile: int | None, tta: bool) -> dict[str, str]:
    """What the answers depend on besides the model, in words; empty for a single pass."""
    described = {}
    if tile is not None:
        described["tiles"] = f"{tile} pixels, overlapping by {OVERLAP:.0%} or more, and the whole; limits hold for each"
    if tta:
        described["views"] = f"the image, its mirror image, and both {SCALE:g} times as large; boxes fused"
    return described


def tell_if_uncut(console: Console, longest_side: int, *, tile: int | None) -> None:
    """Says so when tiles were asked for and no image is larger than one."""
    if tile is not None and longest_side <= tile:
        console.print(f"note: --tile {tile} had no effect: the longest side of an image is {longest_side} pixels")

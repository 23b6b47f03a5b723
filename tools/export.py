"""``multibox export``: a model as a file of another engine, compared with the model on real images before it counts."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detection.build import load_detector
from detection.checkpoint import model_file
from detection.data.image import read_image
from detection.data.source import list_source
from detection.errors import InputError
from detection.export.document import ExportDocument
from detection.export.engine import load_exported
from detection.export.files import write_onnx, write_openvino
from detection.export.graph import DetectionGraph
from detection.export.parity import measure_drift
from detection.preprocess import Image
from tools.cli import run_alone

console = Console(soft_wrap=True, markup=False, highlight=False)

FORMATS = ("onnx", "openvino")

PHOTOGRAPHS = Path(str(resources.files("skimage"))) / "data"
"""Pictures that are on every machine."""


def export(
    model: Annotated[Path, typer.Argument(help="model.safetensors of a run, or its folder.")],
    to: Annotated[str, typer.Option(help="onnx or openvino.")],
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Images to compare on, best those it is for. [default: some photographs of scikit-image]"),
    ] = None,
    compare: Annotated[int, typer.Option(min=1, help="Most images to compare on.")] = 50,
) -> None:
    """Writes a model for ONNX Runtime or OpenVINO, preprocessing and suppression inside the graph.

    The file takes (batch, height, width, 3) pixels of any size, and carries class names, ids and thresholds along.
    It is compared with the model on real images; where it answers otherwise nothing is left and the exit code is 2.

    Example: multibox export runs/first --to openvino --out exported --images photos
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: is not known; choose from {', '.join(FORMATS)}")
    path = model_file(model)
    source = load_detector(path, device="cpu", precision="float32", prepare=False)
    document = ExportDocument.of(source, str(path))
    onnx_path = out / "model.onnx"
    write_onnx(DetectionGraph(source), document, onnx_path)
    written = [onnx_path]
    if to == "openvino":
        written = [out / "model.xml", out / "model.bin"]
        write_openvino(onnx_path, document, written[0])
        onnx_path.unlink()
    drift = measure_drift(source, load_exported(written[0]), islice(_read(images or PHOTOGRAPHS), compare))
    console.print(drift.describe())
    if not drift.tolerable:
        for each in written:
            each.unlink()
        raise InputError(f"{written[0]}: answers otherwise than {path}, so it was not kept; please report this model")
    console.print(f"exported: {written[0]}")


def _read(source: Path) -> Iterator[Image]:
    for _, path in list_source(source):
        try:
            yield read_image(path)
        except InputError as error:
            console.print(f"not compared on: {error}")


if __name__ == "__main__":
    run_alone(export)

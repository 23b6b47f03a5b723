"""``multibox export``: a model as a file of another engine, compared with the model on real images before it counts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from detection.build import load_detector
from detection.checkpoint import model_file
from detection.data.image import read_image
from detection.data.records import DetectionData
from detection.data.source import list_source
from detection.detector import Detector
from detection.errors import InputError
from detection.evaluation.summary import evaluate_detections
from detection.export.document import ExportDocument
from detection.export.engine import ENGINE_FILES, engine_files, load_exported
from detection.export.files import stored_source, write_onnx, write_openvino
from detection.export.graph import DetectionGraph
from detection.export.parity import Drift, measure_drift
from detection.export.quantize import MAX_DROP, SUBSET, quantize_openvino
from detection.extras import require
from detection.inference import detect_records
from detection.preprocess import Image
from detection.side_by_side import count_lanes
from tools.cli import plain_console, run_alone
from tools.progress import counting
from tools.reading import evaluation_split, read_data, training_split

console = plain_console()

FORMATS = tuple(name for name in ENGINE_FILES if name != "torch")

NEEDED = {
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "int8": ("onnx", "openvino", "nncf"),
}
"""Extra -> the packages that it brings."""

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
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Data set of the model: also write OUT/int8, in whole numbers scaled on its training images. Kept "
            "only if the AP on its test part drops by at most half a point. With --to openvino.",
        ),
    ] = None,
) -> None:
    """Writes a model for ONNX Runtime or OpenVINO, preprocessing and suppression inside the graph.

    The file takes (batch, height, width, 3) pixels of any size, and carries class names, ids and thresholds along.
    It is compared with the model on real images; where it answers otherwise nothing is left and the exit code is 2.

    Example: multibox export runs/first --to openvino --out exported --images photos

    Example: multibox export runs/first --to openvino --out exported --images photos --int8 my-data
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: is not known; choose from {', '.join(FORMATS)}")
    if int8 is not None and to != "openvino":
        raise InputError(f"--int8: quantises for OpenVINO only; use --to openvino, not --to {to}")
    extra = to if int8 is None else "int8"
    require(NEEDED[extra], extra)
    path, target = model_file(model), out / ENGINE_FILES[to]
    pictures = list_source(images or PHOTOGRAPHS)
    source = load_detector(path, device="cpu", precision="float32", prepare=False)
    document = ExportDocument.of(source, path, out)
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=out) as folder:
        draft = _write(source, document, to, Path(folder))
        exported = load_exported(draft, precision="float32")
        drift = measure_drift(source, exported, islice(Pictures([path for _, path in pictures]), compare))
        _judge(drift, target, path, named=images is not None)
        _take_over(to, draft, target)
    _remove_others(out, document.source_sha256)
    console.print(f"exported: {target}")
    if int8 is not None:
        within = out / "int8"
        _quantize(target, within / target.name, ExportDocument.of(source, path, within), int8)


def _write(source: Detector, document: ExportDocument, to: str, folder: Path) -> Path:
    """Writes the file of an engine, and what it is made of, into a folder that holds nothing else."""
    graph, between, draft = DetectionGraph(source), folder / ENGINE_FILES["onnx"], folder / ENGINE_FILES[to]
    write_onnx(graph, document, between)
    if to == "openvino":
        write_openvino(between, document, draft)
    return draft


def _take_over(to: str, draft: Path, target: Path) -> None:
    """Moves the files of an engine to their place, once they have proved right; the one that is opened comes last."""
    moves = list(zip(engine_files(to, draft), engine_files(to, target), strict=True))
    target.unlink(missing_ok=True)  # a kill between two moves must not leave a graph with another one's weights
    for new, final in reversed(moves):
        new.replace(final)


def _remove_others(out: Path, source_sha256: str) -> None:
    """Takes exports of other models out of the folder, each of which could be run in place of the new one."""
    places = [(engine, out / ENGINE_FILES[engine]) for engine in FORMATS]
    places.append(("openvino", out / "int8" / ENGINE_FILES["openvino"]))
    for engine, path in places:
        made_of = stored_source(path) if path.is_file() else None
        if made_of is not None and made_of != source_sha256:
            for file in engine_files(engine, path):
                file.unlink(missing_ok=True)
            console.print(f"removed: {path}, which an earlier export made of another model")


def _judge(drift: Drift, target: Path, source: Path, *, named: bool) -> None:
    """Says how far an export is from its source.

    Args:
        drift: How far.
        target: The export.
        source: What it was made of.
        named: Whether the user has named the images.

    Raises:
        InputError: If it is too far, or nothing could be compared.
    """
    if not drift.images:
        raise InputError(f"{target}: none of the images to compare on can be read, so it was not kept; name others")
    console.print(drift.describe())
    if not drift.tolerable:
        raise InputError(f"{target}: answers otherwise than {source}, so it was not kept; please report this model")
    if not drift.detections and not named:
        raise InputError(
            f"{target}: nothing was found on the photographs of scikit-image, so no box was compared and it was not "
            "kept; name images that the model is for with --images"
        )
    if not drift.detections:
        console.print("note: nothing was found on these images, so no box was compared; name others with --images")


def _quantize(exported: Path, path: Path, document: ExportDocument, root: Path) -> None:
    """Writes the int8 form of an export to ``path``, or nothing if it costs too much AP."""
    learnt = read_data(console, root, training_split(root, None), class_names=document.class_names)
    judged = read_data(console, root, evaluation_split(root), class_names=document.class_names)
    chosen = sorted(random.Random(0).sample(range(len(learnt.images)), min(SUBSET, len(learnt.images))))
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        quantize_openvino(exported, draft, document, Pictures([learnt.images[row].path for row in chosen]))
        before, after = _average_precision(exported, judged, "float32"), _average_precision(draft, judged, "auto")
        console.print(f"AP on {judged.split}: {before:.4f} in float32, {after:.4f} in int8")
        if after < before - MAX_DROP:
            raise InputError(f"{path}: int8 costs more than {MAX_DROP} AP, so it was not kept; use {exported}")
        _take_over("openvino", draft, path)
    console.print(f"exported: {path}")


def _average_precision(path: Path, data: DetectionData, precision: str) -> float:
    """COCO AP of an exported file, computed in a precision.

    Raises:
        InputError: If the part has no object.
    """
    with counting(console, len(data.images), "detecting") as advance:
        exported = load_exported(path, lanes=count_lanes(), precision=precision)
        answers = detect_records(exported, data.images, heard=advance)
    found = evaluate_detections(data, answers.detections).coco["AP"]
    if found is None:
        raise InputError(f"{data.root}: split {data.split!r} has no object to judge int8 on; give a labelled part")
    return found


class Pictures:
    """Images from files, one in memory at a time, read again on every pass; those that cannot be read are named once.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._told: set[Path] = set()

    def __iter__(self) -> Iterator[Image]:
        """(H, W, 3) uint8 RGB of each file that can be read."""
        for path in self.paths:
            try:
                yield read_image(path)
            except InputError as error:
                if path not in self._told:
                    console.print(f"passed over: {error}")
                self._told.add(path)


if __name__ == "__main__":
    run_alone(export)

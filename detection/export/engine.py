"""A detector in an exported file, run by ONNX Runtime or OpenVINO: a ``ModelDetector`` like that of torch.

Legend: B images of one size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from backbone.weights import METADATA_KEY
from detection.checkpoint import MODEL_NAME
from detection.device import choose_precision
from detection.errors import InputError
from detection.export.document import ExportDocument
from detection.export.exact import bears_marks
from detection.export.files import INPUT
from detection.extras import needed
from detection.preprocess import Image, check_images
from detection.structures import Detections

Arrays = Mapping[str, npt.NDArray[np.generic]]
Run = Callable[[npt.NDArray[np.uint8]], Arrays]
"""(B, H, W, 3) uint8 -> the outputs of the graph by name."""

_LOCK = threading.Lock()

ENGINE_FILES = {"torch": MODEL_NAME, "openvino": "model.xml", "onnx": "model.onnx"}
"""Engine -> the file it reads, in a folder of a run or of an export; its suffix tells files of other names apart."""


def engine_file(path: Path, engine: str | None) -> tuple[str, Path]:
    """Which engine runs what a user names, and the file that it reads.

    Args:
        path: A model file of any engine, or a folder with one or several.
        engine: The one wanted; None takes what there is, torch first.

    Returns:
        Engine and file; the file of torch need not exist.

    Raises:
        InputError: If the engine is unknown, or there is no file for it.
    """
    if engine is not None and engine not in ENGINE_FILES:
        raise InputError(f"--engine {engine}: is not known; choose from {', '.join(ENGINE_FILES)}")
    if path.is_dir():
        there = [name for name, file in ENGINE_FILES.items() if (path / file).is_file()]
        chosen = engine or (there[0] if there else "torch")
        file = path / ENGINE_FILES[chosen]
    else:
        of_suffix = {Path(file).suffix: name for name, file in ENGINE_FILES.items()}
        there = [of_suffix.get(path.suffix, "torch")]
        chosen, file = engine or there[0], path
    if chosen not in there and chosen != "torch":
        raise InputError(f"{path}: no file for {chosen}; `multibox export MODEL --to {chosen} --out DIR` writes one")
    if chosen not in there and not path.is_dir():
        raise InputError(f"{path}: a file for {there[0]}; leave out --engine, or give the model.safetensors of its run")
    return chosen, file


def engine_files(engine: str, file: Path) -> list[Path]:
    """All files of a model: OpenVINO keeps the weights beside the graph."""
    return [file, file.with_suffix(".bin")] if engine == "openvino" else [file]


class ExportedDetector:
    """Detects with an exported file; several threads may ask it, and those beyond its lanes wait their turn.

    Args:
        run: Runs the graph.
        document: What the file says of itself.
        precision: Of the layers.
    """

    def __init__(self, run: Run, document: ExportDocument, precision: torch.dtype = torch.float32) -> None:
        self.run = run
        self.document = document
        self.precision = precision
        self.device = torch.device("cpu")

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names; a detection's label indexes into them."""
        return self.document.class_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """C ids of the training data."""
        return self.document.category_ids

    @property
    def max_detections(self) -> int:
        """Detections of an image at most."""
        return self.document.max_detections

    @property
    def thresholds(self) -> Mapping[str, tuple[float | None, ...]]:
        """Kind -> lowest score of each class; empty where the model was not calibrated."""
        return self.document.thresholds

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        """(H, W, 3) uint8 RGB images of any sizes -> detections in the pixels of each; those of one size together.

        Raises:
            InputError: If an image has another shape or type, or the file answers what no detector can.
        """
        check_images(images)
        by_size: dict[tuple[int, int], list[int]] = {}
        for row, image in enumerate(images):
            by_size.setdefault((image.shape[0], image.shape[1]), []).append(row)
        found: dict[int, Detections] = {}
        for size_hw, rows in by_size.items():
            outputs = self.run(np.stack([images[row] for row in rows]))
            for place, row in enumerate(rows):
                found[row] = _of_image(outputs, place, size_hw, num_classes=len(self.class_names))
        return [found[row] for row in range(len(images))]


def _of_image(outputs: Arrays, place: int, size_hw: tuple[int, int], *, num_classes: int) -> Detections:
    own = outputs["image_index"] == place
    boxes = torch.from_numpy(outputs["boxes"][own].astype(np.float32)).reshape(-1, 4)
    scores = torch.from_numpy(outputs["scores"][own].astype(np.float32))
    labels = torch.from_numpy(outputs["labels"][own].astype(np.int64))
    are_numbers = boxes.isfinite().all() and scores.isfinite().all()
    if not (are_numbers and ((labels >= 0) & (labels < num_classes)).all()):
        raise InputError(
            f"the exported file answers with boxes or scores that are no numbers, or labels beyond its {num_classes} "
            "classes; export the model again, or for another engine"
        )
    return Detections(boxes, scores, labels, size_hw)


def load_exported(path: Path, *, lanes: int = 1, precision: str = "auto") -> ExportedDetector:
    """Opens an exported file with the engine it is for.

    Args:
        path: The file.
        lanes: How many threads will ask it at once. The cores are shared out among them, so that together they get
            more done, and one alone less.
        precision: As for ``choose_precision``, of the layers; what is computed of boxes is in float32. ``auto`` takes
            float32 for files of earlier versions, which do not say what that is. ONNX Runtime has no bfloat16.

    Raises:
        InputError: If the file is missing, damaged or no detector, its engine is not installed, or the precision is
            not known or not there.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .onnx or .xml file that `multibox export` wrote")
    is_onnx = path.suffix == ".onnx"
    if is_onnx and precision == "bfloat16":
        raise InputError(f"{path}: ONNX Runtime computes in float32; leave bfloat16 out, or export --to openvino")
    choose_precision(torch.device("cpu"), precision)  # a wrong name is told before the file is opened
    try:
        run, text, chosen = _open_onnx(path, lanes) if is_onnx else _open_openvino(path, lanes, precision)
        return ExportedDetector(run, ExportDocument.from_text(text).found_from(path), chosen)
    except InputError:
        raise
    except Exception as error:  # the engines' own errors have no common type
        raise InputError(f"{path}: cannot be opened ({error}); export the model again") from error


def _open_onnx(path: Path, lanes: int) -> tuple[Run, str, torch.dtype]:
    runtime = needed("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    if lanes > 1:
        # Whoever asks computes too, and the session's other threads help all of them.
        options.intra_op_num_threads = max(1, torch.get_num_threads() - lanes + 1)
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: npt.NDArray[np.uint8]) -> Arrays:
        return dict(zip(names, session.run(names, {INPUT: images}), strict=True))

    return run, session.get_modelmeta().custom_metadata_map[METADATA_KEY], torch.float32


def _openvino_core() -> Any:
    with _LOCK:
        return _make_openvino_core()


@cache
def _make_openvino_core() -> Any:
    """One core for as long as the process lives.

    Where there is AMX, OpenVINO gives the thread that opens the first model a stack for signal handlers of its own, and
    unmaps it when the last model and core are gone. If another thread lets go of them, the first keeps the address, and
    the next signal that has a handler (an interrupt, the end of a child process) ends the process.
    """
    openvino = needed("openvino", "openvino")
    # Makes its table of numpy's types: two threads that do so at once wait for each other for ever.
    openvino.Type.u8.to_dtype()
    return openvino.Core()


def _open_openvino(path: Path, lanes: int, precision: str) -> tuple[Run, str, torch.dtype]:
    core = _openvino_core()
    model = core.read_model(str(path))
    shares = {"PERFORMANCE_HINT": "LATENCY"} if lanes == 1 else {"NUM_STREAMS": lanes}
    wanted = "float32" if precision == "auto" and not bears_marks(model) else precision
    chosen = choose_precision(torch.device("cpu"), wanted)
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if chosen == torch.bfloat16 else "f32"}
    compiled = core.compile_model(model, "CPU", hint | shares)
    names = [output.get_any_name() for output in compiled.outputs]
    free: LifoQueue[Any] = LifoQueue()  # one that asks alone has one request, which keeps what it saw last
    for _ in range(lanes):
        free.put(compiled.create_infer_request())

    def run(images: npt.NDArray[np.uint8]) -> Arrays:
        request = free.get()
        try:
            results = request.infer([images], share_inputs=True)
        finally:
            free.put(request)
        return {name: results[place] for place, name in enumerate(names)}

    return run, model.get_rt_info([METADATA_KEY]).astype(str), chosen

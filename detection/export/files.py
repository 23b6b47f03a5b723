"""The graph as a file of another engine: ONNX, and from it OpenVINO's pair of files."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from backbone.weights import METADATA_KEY
from detection.atomic import atomic_path
from detection.export.document import ExportDocument
from detection.export.exact import keep_exact
from detection.export.graph import DetectionGraph, GraphDetections
from detection.extras import needed

OPSET = 18
"""Of ONNX: the first whose operators hold the whole graph."""

INPUT = "images"

_SOURCE = re.compile(rb'(?:"|&quot;)source_sha256(?:"|&quot;): (?:"|&quot;)([0-9a-f]{64})')
"""In the document of an exported file, as ONNX keeps it and as xml does."""


@torch.no_grad()
def write_onnx(graph: DetectionGraph, document: ExportDocument, path: Path) -> None:
    """Writes ``path``: (B, H, W, 3) uint8 RGB in, what ``GraphDetections`` holds out; B, H and W are free.

    Raises:
        InputError: If the packages are not installed.
    """
    onnx = needed("onnx", "onnx")
    example = torch.zeros(2, 150, 200, 3, dtype=torch.uint8)
    outputs = list(GraphDetections._fields)
    free = {INPUT: {0: "batch", 1: "height", 2: "width"}} | {name: {0: "detections"} for name in outputs}
    with atomic_path(path) as draft:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The tracer warns of every size that it follows.
            torch.onnx.export(
                graph.eval(),
                (example,),
                str(draft),
                input_names=[INPUT],
                output_names=outputs,
                dynamic_axes=free,
                opset_version=OPSET,
                dynamo=False,
            )
        model = onnx.load(str(draft))
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, document.to_text()
        onnx.save(model, str(draft))


def write_openvino(onnx_path: Path, document: ExportDocument, path: Path) -> None:
    """Writes ``path`` (xml) and the weights beside it (bin) from an ONNX file.

    Raises:
        InputError: If OpenVINO is not installed.
    """
    openvino = needed("openvino", "openvino")
    model = openvino.convert_model(str(onnx_path))
    model.set_rt_info(document.to_text(), [METADATA_KEY])
    save_openvino(model, path)


def stored_source(path: Path) -> str | None:
    """Digest of the model that an exported file says it was made of; None where it says nothing.

    The digest is looked for as bytes, since neither engine need be installed for the other's files.
    """
    found = _SOURCE.search(path.read_bytes())
    return found[1].decode("ascii") if found else None


def save_openvino(model: Any, path: Path) -> None:
    """Writes an OpenVINO model as ``path`` (xml) and the weights beside it (bin), in full precision."""
    keep_exact(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    needed("openvino", "openvino").save_model(model, str(path), compress_to_fp16=False)

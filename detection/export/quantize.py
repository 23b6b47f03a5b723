"""int8 by post-training quantisation: the large layers of an OpenVINO graph in whole numbers, scaled on real images.

NNCF looks at the activations of some training images and chooses the scale of each. Only the large layers are touched:
boxes are judged, decoded, suppressed and scaled back in float32 as before.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable
from pathlib import Path

from backbone.weights import METADATA_KEY
from detection.errors import InputError
from detection.export.document import ExportDocument
from detection.export.files import save_openvino
from detection.extras import needed
from detection.preprocess import Image

MAX_DROP = 0.005
"""AP that int8 may cost."""

SUBSET = 300
"""Training images whose activations are looked at, at most; NNCF's own default."""

_LEFT_ALONE = ("Multiply", "Subtract", "Divide", "ROIAlign", "ReduceMean", "Gather")
"""Operations that NNCF would quantise too: of boxes, scores and pixels here, where 256 steps are too few."""

_MOSTLY_LEFT_ALONE = ("Add", "MatMul")
_LARGE = ("/pyramid/Add", "/trunk")
"""How the names of those begin that are as large as convolutions: the sums of the pyramid's levels, and the layer of
the region classifier that all heads share."""


def quantize_openvino(source: Path, path: Path, document: ExportDocument, images: Iterable[Image]) -> None:
    """Writes the int8 form of an exported OpenVINO file.

    Args:
        source: The xml file.
        path: That of the int8 form.
        document: What the file says of itself.
        images: Typical ones, (H, W, 3) uint8 RGB of any sizes; gone through several times, ``SUBSET`` of them at most.

    Raises:
        InputError: If NNCF or OpenVINO is not installed, or there is no image.
    """
    if next(iter(images), None) is None:
        raise InputError("int8 needs training images to find the range of each layer; the split has none to read")
    openvino, nncf = needed("openvino", "int8"), needed("nncf", "int8")
    nncf.set_log_level(logging.WARNING)  # it would name every operation that it leaves alone
    model = openvino.Core().read_model(str(source))
    # Images of one kind take only one branch of the scaling: NNCF would learn nothing of the other, and stop.
    branches = [op.get_function(way) for op in model.get_ops() if op.get_type_name() == "If" for way in (0, 1)]
    scaling = [op.get_friendly_name() for branch in branches for op in branch.get_ops()]
    names = [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() in _MOSTLY_LEFT_ALONE]
    small = [name for name in names if not name.startswith(_LARGE)]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(images, lambda image: image[None]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=SUBSET,
        ignored_scope=nncf.IgnoredScope(names=[*scaling, *small], types=list(_LEFT_ALONE), validate=False),
    )
    # Models of NNCF's own that a thread would let go of: see engine._openvino_core.
    gc.collect()
    quantized.set_rt_info(document.to_text(), [METADATA_KEY])
    save_openvino(quantized, path)

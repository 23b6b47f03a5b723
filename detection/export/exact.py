"""What stays in float32 where OpenVINO computes the layers of a network in bfloat16: all that is said of boxes.

bfloat16 has eight bits: a coordinate of 300 pixels would be rounded to an even one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detection.extras import needed

_MARK = "precise_0"
"""OpenVINO's own, of an operation that keeps its precision."""

_MARKS = {_MARK, "DisablePrecisionConversion_0"}
"""Its names in older and newer versions."""

_POOLING = "ROIAlign"
"""Takes features in any precision and boxes in float32."""


def keep_exact(model: Any) -> None:
    """Marks all operations of an OpenVINO model that are no layers, nor hand on features from one layer to the next.

    Layers are told by their names, which begin with that of their module. What is within a branch is marked too.
    Subtractions and squeezes are written in other words first, since OpenVINO does so itself and loses the mark.
    """
    exact = _find_exact(model)
    for op in exact:
        _reword(op)
    for op in _find_exact(model):
        op.get_rt_info()[_MARK] = ""


def bears_marks(model: Any) -> bool:
    """Whether ``keep_exact`` has seen this model."""
    return any(_MARKS & set(op.get_rt_info().keys()) for op in model.get_ops())


def _find_exact(model: Any) -> list[Any]:
    ordered = model.get_ordered_ops()
    of_layers: set[str] = set()
    for op in reversed(ordered):
        name = op.get_friendly_name()
        readers = {place.get_node().get_friendly_name() for out in op.outputs() for place in out.get_target_inputs()}
        if name.count("/") > 1 or (readers and readers <= of_layers and op.get_type_name() != _POOLING):
            of_layers.add(name)
    exact = [op for op in ordered if op.get_friendly_name() not in of_layers and op.get_type_name() != _POOLING]
    branching = [op for op in ordered if op.get_type_name() == "If"]
    return exact + [deep for op in branching for way in (0, 1) for deep in op.get_function(way).get_ops()]


def _reword(op: Any) -> None:
    """Writes a difference as a sum with -1 times what is taken away, and a squeeze as row 0 of its axis."""
    openvino = needed("openvino", "openvino")
    words = openvino.opset13
    if op.get_type_name() == "Subtract" and op.get_output_element_type(0) == openvino.Type.f32:
        negative = words.multiply(op.input_value(1), words.constant(np.float32(-1)))
        new = words.add(op.input_value(0), negative)
    elif op.get_type_name() == "Squeeze" and op.get_input_size() == 2:
        axes = op.input_value(1).get_node().get_data()
        if axes.size != 1:
            return
        new = words.gather(op.input_value(0), words.constant(np.int64(0)), words.constant(np.int64(axes.item())))
    else:
        return
    name = op.get_friendly_name()
    openvino.utils.replace_node(op, new)
    new.set_friendly_name(name)

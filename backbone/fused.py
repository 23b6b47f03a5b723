"""Convolution and rectification as one call with weights packed once: inference on a CPU.

Measured on the trunk at 384 x 288 in bfloat16: 22.7 instead of 25.8 ms, equal outputs (docs/decisions.md). The
operators are those that torch's own compiler calls; they are not public, so they are tried before they are used.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from backbone.inception import ConvUnit

KEPT_SHAPES = 8
"""Shapes of the input whose packed weights are kept: one to four images upright or across, or tiles and whole images,
come in turn, and packing all weights anew takes longer than a pass (docs/decisions.md, 52)."""

_LOCK = threading.Lock()


class FusedConvReLU(nn.Module):
    """A folded convolution with its rectification; takes no gradient and keeps its own packed weights.

    Several threads may call it at once.

    Args:
        conv: On the CPU, with a bias, in the precision to compute in.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        padding = [int(side) for side in conv.padding]
        self.geometry = (padding, list(conv.stride), list(conv.dilation), conv.groups)
        self.weight = conv.weight
        self.bias = conv.bias
        self._packed: dict[tuple[torch.Size, int], Tensor] = {}  # by shape and cores; what was used last stands last

    def _weights_for(self, x: Tensor) -> Tensor:
        """The weights in the layout that oneDNN wants for this input on as many cores as there are."""
        key = x.shape, torch.get_num_threads()
        with _LOCK:
            packed = self._packed.pop(key, None)
            if packed is not None:
                self._packed[key] = packed
                return packed
        weight = self.weight.detach()
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.geometry, list(x.shape))
        with _LOCK:
            self._packed[key] = packed
            if len(self._packed) > KEPT_SHAPES:
                self._packed.pop(next(iter(self._packed)))
        return packed

    def forget(self) -> None:
        """Lets go of all packed weights."""
        self._packed.clear()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H', W')."""
        if not len(x):  # the operator wants something to compute
            padding, stride, dilation, groups = self.geometry
            return torch.relu(nn.functional.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups))
        weight = self._weights_for(x)
        return torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *self.geometry, "relu", [], "")


def fuse(block: ConvUnit) -> FusedConvReLU | None:
    """The fused form of a folded block; None where torch or the machine does not have it, or it answers otherwise."""
    conv = block.conv
    if block.training or conv.weight.device.type != "cpu" or conv.bias is None:
        return None
    side = max(conv.kernel_size) + max(conv.stride)
    probe = torch.ones(1, conv.in_channels, side, side, dtype=conv.weight.dtype)
    probe = probe.contiguous(memory_format=torch.channels_last)
    try:
        fused = FusedConvReLU(conv)
        same = torch.allclose(fused(probe), torch.relu(conv(probe)), rtol=1e-2, atol=1e-2)
        fused.forget()
    except (AttributeError, RuntimeError, TypeError):  # no such operator, other arguments, or not for this precision
        return None
    return fused if same else None


@torch.inference_mode()
def fuse_convolutions(network: nn.Module) -> int:
    """Replaces the work of every folded block of ``network`` by its fused form where there is one, in place.

    Returns:
        How many blocks were fused.
    """
    blocks = [module for module in network.modules() if isinstance(module, ConvUnit)]
    for block in blocks:
        block.fused = fuse(block)
    return sum(block.fused is not None for block in blocks)

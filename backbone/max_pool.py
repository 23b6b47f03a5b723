"""Max pooling that keeps no track of where the maxima were: inference on a CPU.

torch's kernel notes the place of every maximum, eight bytes beside the two of a bfloat16 value, whether or not a
gradient will ask for it. The maximum of shifted copies, first along one axis, then along the other, is the same number
(docs/decisions.md, 43). Rectified numbers, none of them negative, are ordered as the integers of the same bits, whose
maximum processors find in one instruction where bfloat16 is widened and narrowed again (45).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_INTEGERS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
"""Of the same width as each kind of number."""


class MaxPool(nn.MaxPool2d):
    """``nn.MaxPool2d`` of GoogLeNet's kinds: 3x3 of stride 1 with padding 1, 3x3 or 2x2 of stride 2, in ceil mode.

    For the output of a rectification, which is all that GoogLeNet pools: no value may be negative.

    Args:
        kernel: 2 or 3.
        stride: 1, only with kernel 3 and padding, or 2, without padding.
    """

    def __init__(self, kernel: int, *, stride: int) -> None:
        super().__init__(kernel, stride=stride, padding=int(stride == 1), ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) from 0 on -> (B, C, H / stride, W / stride); numbers and sides are ``nn.MaxPool2d``'s."""
        is_traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if torch.is_grad_enabled() or is_traced or torch.compiler.is_compiling():
            return self._as_torch(x)
        rows, columns = x.shape[2:]
        if not x.is_cpu or x.dtype not in _INTEGERS or min(rows, columns) < 2 or rows % 2 or columns % 2:
            return self._as_torch(x)
        # Channels last, so that the inner loops run over memory in its order.
        pixels = x.permute(0, 2, 3, 1).view(_INTEGERS[x.dtype])
        is_triple = self.kernel_size == 3
        for axis in (1, 2):
            pixels = _of_neighbours(pixels, axis) if self.stride == 1 else _of_pairs(pixels, axis, is_triple)
        return pixels.view(x.dtype).permute(0, 3, 1, 2)

    def _as_torch(self, x: Tensor) -> Tensor:
        pooled: Tensor = super().forward(x)
        return pooled


def _of_neighbours(x: Tensor, axis: int) -> Tensor:
    """The maximum of every place and the two beside it; the ends have one neighbour."""
    size = x.shape[axis]
    pairs = torch.maximum(x.narrow(axis, 0, size - 1), x.narrow(axis, 1, size - 1))
    out = torch.empty_like(x)
    torch.maximum(pairs.narrow(axis, 0, size - 2), pairs.narrow(axis, 1, size - 2), out=out.narrow(axis, 1, size - 2))
    out.select(axis, 0).copy_(pairs.select(axis, 0))
    out.select(axis, size - 1).copy_(pairs.select(axis, size - 2))
    return out


def _of_pairs(x: Tensor, axis: int, is_triple: bool) -> Tensor:
    """The maximum of every two places, and of the one behind them if ``is_triple``; the size is even."""
    pairs = x.unflatten(axis, (-1, 2))
    even, odd = pairs.select(axis + 1, 0), pairs.select(axis + 1, 1)
    out = torch.maximum(even, odd)
    if is_triple:
        first = out.narrow(axis, 0, out.shape[axis] - 1)
        torch.maximum(first, even.narrow(axis, 1, out.shape[axis] - 1), out=first)
    return out

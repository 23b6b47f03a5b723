"""What a sum of losses is divided by, on one process or on several."""

from __future__ import annotations

from torch import Tensor, distributed


def normalizer(count: Tensor) -> Tensor:
    """The divisor that makes a sum over examples a mean: how many there are, at least 1.

    On several processes it is the count over all of them, divided by their number. Gradients are averaged over the
    processes, so the objective is that of the whole batch, however its examples are spread.

    Args:
        count: () examples of this process.

    Returns:
        () above 0, without a gradient.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return count.detach().clamp(min=1)
    total = count.detach().clone().float()
    distributed.all_reduce(total)
    return total.clamp(min=1) / distributed.get_world_size()

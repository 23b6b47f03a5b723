"""Batch normalisation over the batches of all processes, on any device.

torch's own ``SyncBatchNorm`` computes on GPUs alone. Legend: B images, C channels, N numbers of a channel, W processes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from detection.processes import are_several


class _Sum(torch.autograd.Function):
    """The sum over the processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


class SyncedBatchNorm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` that takes mean and variance over the batches of all processes; alone it is just that."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape and type; a process may have no images."""
        if not self.training or not are_several():
            return super().forward(x)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        count, mean, variance = batch_statistics(exact)
        self._remember(count, mean.detach(), variance.detach())
        scale = (variance + self.eps).rsqrt() * self.weight
        shift = self.bias - mean * scale
        return (exact * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics, as torch does, by the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """N (), mean (C,) and biased variance (C,) of (B, C, H, W), float32 or float64, over all processes; differentiable.

    Every process computes its own mean and spread and shares them; each combines them all (Chan et al., 1979): nothing
    cancels, as it would in a difference of sums of squares.
    """
    rank, processes, channels = distributed.get_rank(), distributed.get_world_size(), x.shape[1]
    count = x.numel() // channels
    mean = x.sum(dim=(0, 2, 3)) / max(count, 1)
    spread = (x - mean.view(1, -1, 1, 1)).square().sum(dim=(0, 2, 3))
    own = torch.cat([x.new_tensor([count]), mean, spread])
    table = own.new_zeros(processes, len(own)).index_copy(0, torch.tensor([rank], device=x.device), own[None])
    everyone: Tensor = _Sum.apply(table)  # (W, 1 + 2 C)
    counts, means, spreads = everyone[:, :1], everyone[:, 1 : 1 + channels], everyone[:, 1 + channels :]
    total = counts.sum().clamp(min=1)
    whole = (counts * means).sum(dim=0) / total
    variance = (spreads + counts * (means - whole).square()).sum(dim=0) / total
    return total, whole, variance


def sync_batch_norms(module: nn.Module) -> None:
    """Replaces every ``nn.BatchNorm2d`` below ``module`` in place; parameters, statistics and names stay."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            synced = SyncedBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            synced.weight, synced.bias = child.weight, child.bias
            for buffer, value in child.named_buffers():
                setattr(synced, buffer, value)
            setattr(module, name, synced.train(child.training))
        else:
            sync_batch_norms(child)

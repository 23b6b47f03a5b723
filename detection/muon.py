"""Muon: momentum whose update is made orthogonal (Jordan et al. 2024, "Muon: an optimizer for hidden layers").

A convolution's weight counts as a matrix of outputs by inputs and places. All singular values of its update become
about 1, so that directions with small gradients learn too. Torch's own takes matrices only, no convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = ((7.71097, -22.113758, 16.248745), (3.215276, -2.411173, 0.5013), (2.218308, -1.593989, 0.410748))
"""Of x, x^3 and x^5 by step: each is minimax on what the steps before it make of [0.02, 1] (2505.16932, section 3)."""

_ADAM_BETAS = (0.9, 0.999)
_ADAM_EPS = 1e-8


def orthogonalize(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Newton-Schulz iteration towards the nearest matrix with orthonormal rows or columns.

    Each step is an odd polynomial of the matrix, so all steps together are the matrix times a polynomial of its Gram
    matrix: the iteration runs on that small square.

    Args:
        matrix: (R, C); zeros stay zeros.
        dtype: Precision of the iteration; bfloat16 is enough.

    Returns:
        (R, C) float32. Singular values above 0.02 of the Frobenius norm become 0.91 to 1.09, smaller ones grow less;
        bfloat16 adds about 0.05 to either side.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    product = factor = _polynomial(gram, *COEFFICIENTS[0])
    for coefficients in COEFFICIENTS[1:]:
        gram = factor @ gram @ factor
        factor = _polynomial(gram, *coefficients)
        product = factor @ product
    x = product @ x
    return (x.T if tall else x).float()


def _polynomial(square: Tensor, a: float, b: float, c: float) -> Tensor:
    """The sum of ``a`` times the identity, ``b`` times the square matrix and ``c`` times its square."""
    result = torch.addmm(square, square, square, beta=b, alpha=c)
    result.diagonal().add_(a)
    return result


class Muon(torch.optim.Optimizer):
    """Muon for the weights of convolutions, AdamW for everything else.

    Args:
        groups: Each with ``params``, ``lr``, ``weight_decay`` and ``orthogonal``, which says by which of the two.
        momentum: Of the orthogonal updates.
        dtype: Precision of the orthogonalisation.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, momentum: float, dtype: torch.dtype) -> None:
        super().__init__(list(groups), {})
        self.momentum = momentum
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient; ``closure`` is not supported."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                update = self._orthogonal_step if group["orthogonal"] else self._adam_step
                update(parameters, [parameter.grad for parameter in parameters], group["lr"])

    def _orthogonal_step(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: float) -> None:
        averages = self._kept("average", parameters)
        torch._foreach_lerp_(averages, gradients, 1 - self.momentum)
        ahead = torch._foreach_lerp(gradients, averages, self.momentum)  # Nesterov's momentum
        for parameter, direction in zip(parameters, ahead, strict=True):
            # The order of the columns does not matter: channels last is how the weights lie in memory, no copy.
            channels_last = direction.permute(0, 2, 3, 1)
            matrix = channels_last.flatten(1)
            scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            update = orthogonalize(matrix, self.dtype).reshape(channels_last.shape).permute(0, 3, 1, 2)
            parameter.add_(update, alpha=-learning_rate * scale)

    def _adam_step(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: float) -> None:
        firsts, seconds = self._kept("first", parameters), self._kept("second", parameters)
        steps = [self._count(parameter) for parameter in parameters]
        torch._foreach_lerp_(firsts, gradients, 1 - _ADAM_BETAS[0])
        torch._foreach_mul_(seconds, _ADAM_BETAS[1])
        torch._foreach_addcmul_(seconds, gradients, gradients, value=1 - _ADAM_BETAS[1])
        means = torch._foreach_div(firsts, [1 - _ADAM_BETAS[0] ** count for count in steps])
        spreads = torch._foreach_div(seconds, [1 - _ADAM_BETAS[1] ** count for count in steps])
        torch._foreach_sqrt_(spreads)
        torch._foreach_add_(spreads, _ADAM_EPS)
        torch._foreach_addcdiv_(parameters, means, spreads, value=-learning_rate)

    def _kept(self, name: str, parameters: Iterable[Tensor]) -> list[Tensor]:
        """What is kept of each parameter under a name; zeros at first."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]

    def _count(self, parameter: Tensor) -> float:
        """How often a parameter has been updated, this time included."""
        # torch leaves a state of this name on the CPU when it loads one: no waiting for a device to read it.
        count = self.state[parameter].setdefault("step", torch.zeros(()))
        return float(count.add_(1))

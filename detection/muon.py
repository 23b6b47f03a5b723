"""Muon: momentum whose update is made orthogonal (Jordan et al. 2024, "Muon: an optimizer for hidden layers").

A convolution's weight counts as a matrix of outputs by inputs and places. All singular values of its update become
about 1, so that directions with small gradients learn too. Torch's own takes matrices only, no convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_ADAM_BETAS = (0.9, 0.999)
_ADAM_EPS = 1e-8


def orthogonalize(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Newton-Schulz iteration towards the nearest matrix with orthonormal rows or columns.

    Args:
        matrix: (R, C); zeros stay zeros.
        dtype: Precision of the iteration; bfloat16 is enough.

    Returns:
        (R, C) float32, with singular values between about 0.7 and 1.2: the coefficients trade exactness for speed.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / (x.norm() + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = x @ x.T
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.addmm(x, polynomial, x, beta=a)
    return (x.T if tall else x).float()


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
            update = self._orthogonal_step if group["orthogonal"] else self._adam_step
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update(parameter, parameter.grad, group["lr"])

    def _orthogonal_step(self, parameter: Tensor, gradient: Tensor, learning_rate: float) -> None:
        state = self.state[parameter]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        average = state["average"]
        average.lerp_(gradient, 1 - self.momentum)
        ahead = gradient.lerp(average, self.momentum)  # Nesterov's momentum
        matrix = ahead.flatten(1)
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        update = orthogonalize(matrix, self.dtype).reshape(parameter.shape)
        parameter.add_(update, alpha=-learning_rate * scale)

    def _adam_step(self, parameter: Tensor, gradient: Tensor, learning_rate: float) -> None:
        state = self.state[parameter]
        if not state:
            # torch leaves a state of this name on the CPU when it loads one: no waiting for a device to read it.
            state["step"] = torch.zeros(())
            state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        first, second, count = state["first"], state["second"], state["step"]
        count.add_(1)
        first.lerp_(gradient, 1 - _ADAM_BETAS[0])
        second.mul_(_ADAM_BETAS[1]).addcmul_(gradient, gradient, value=1 - _ADAM_BETAS[1])
        steps = float(count)
        mean = first / (1 - _ADAM_BETAS[0] ** steps)
        spread = (second / (1 - _ADAM_BETAS[1] ** steps)).sqrt_().add_(_ADAM_EPS)
        parameter.addcdiv_(mean, spread, value=-learning_rate)

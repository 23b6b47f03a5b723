"""Networks whose every number is drawn from a seed, statistics of the normalisation included."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backbone import Variant

VARIANTS = [
    Variant(block, norm, five_kernel)
    for block, norm, five_kernel in product(("naive", "reduced", "factorized"), ("lrn", "batchnorm"), (3, 5))
]
"""All of them; a naive network has ten times the weights of the others."""


@torch.no_grad()
def fill_parameters(network: nn.Module, seed: int = 0) -> None:
    """Draws every parameter and running statistic; activations keep about one size from layer to layer.

    A fresh normalisation has mean 0 and variance 1, with which many faults go unseen.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.normal_(0.0, (2.0 / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.normal_(0.0, 0.2, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0.0, 0.2, generator=generator)
            module.running_mean.normal_(0.0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


def random_images(batch_size: int, size_hw: tuple[int, int], seed: int = 0, channels: int = 3) -> Tensor:
    """(B, channels, H, W) normal noise."""
    return torch.randn(batch_size, channels, *size_hw, generator=torch.Generator().manual_seed(seed))


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers in the network."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_conv_weights(network: nn.Module) -> int:
    """Weights of the convolutions in the network, without normalisation and biases."""
    return sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv2d))


def num_batch_norms(network: nn.Module) -> int:
    """Normalisations in the network."""
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """A state dict that does not change with the network."""
    return {key: value.clone() for key, value in network.state_dict().items()}


def assert_same_state(network: nn.Module, expected: dict[str, Tensor]) -> None:
    """Same keys and, bit for bit, the same numbers."""
    state = network.state_dict()
    assert state.keys() == expected.keys()
    assert [key for key, value in expected.items() if not torch.equal(state[key], value)] == []


def name_variant(variant: Variant) -> str:
    """Its options, for the name of a test."""
    return f"{variant.block}-{variant.norm}-{variant.five_kernel}"


def mark_heavy(variants: list[Variant]) -> list[Any]:
    """The variants as parameters of a test that computes with whole networks: the naive ones are slow."""
    return [
        pytest.param(variant, id=name_variant(variant), marks=[pytest.mark.slow] * (variant.block == "naive"))
        for variant in variants
    ]

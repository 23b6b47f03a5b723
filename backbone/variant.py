"""Which GoogLeNet: the paper's network, the module it argues against, and the ones that followed, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Block = Literal["naive", "reduced", "factorized"]
Norm = Literal["lrn", "batchnorm"]

FIVE_KERNELS = (3, 5)


@dataclass(frozen=True)
class Variant:
    """The options of one network.

    Attributes:
        block: The Inception module. ``naive`` has no 1x1 reductions and hands its pooled input on ("Going deeper with
            convolutions", 1409.4842, figure 2a), ``reduced`` is the network of the paper (figure 2b), ``factorized``
            has smaller and one-sided kernels in their place ("Rethinking the Inception Architecture", 1512.00567,
            figures 5 and 6).
        norm: ``lrn`` normalises local responses twice at the start, gives convolutions a bias and pools 3x3 before
            stage 5, as the paper; ``batchnorm`` normalises every convolution and pools 2x2 there, as torchvision.
        five_kernel: Kernel of the "5x5" branch: 5 is the paper, 3 is torchvision, whose branch is a 3x3 convolution (a
            known slip that its weights depend on). ``factorized`` has two 3x3 convolutions there, whatever this says.

    Raises:
        ValueError: If a value is none of these.
    """

    block: Block = "reduced"
    norm: Norm = "batchnorm"
    five_kernel: int = 3

    def __post_init__(self) -> None:
        choices = {"block": get_args(Block), "norm": get_args(Norm), "five_kernel": FIVE_KERNELS}
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(str, known))}")

    @property
    def batch_norm(self) -> bool:
        """Whether every convolution is normalised by its batch."""
        return self.norm == "batchnorm"


PAPER = Variant("reduced", "lrn", 5)
"""The network of "Going deeper with convolutions"."""

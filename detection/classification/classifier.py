"""A trained classifier as a file and as something that answers. Legend: B images, C classes, S side."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbone.googlenet import GoogLeNet
from backbone.normalization import ColourNormalization
from backbone.variant import Variant
from backbone.weights import CLASSIFIER_FORMAT, IMAGENET_MEAN, IMAGENET_STD, halved
from detection.checkpoint import load_tensors, model_file, save_tensors
from detection.device import Compute, choose_compute
from detection.errors import InputError

DEFAULT_NOTE = "The weights belong to whoever trained them; the terms of the training images apply."


@dataclass(frozen=True)
class ClassifierHeader:
    """Everything a classifier's file says besides its weights.

    Attributes:
        variant: Options of the network by name.
        class_names: C names, in the order of the labels.
        preprocessing: Mean and spread of the colours, and the side of the square input that the training ended with.
        recipe: The resolved configuration of the training.
        training: How the weights came about: data, images, steps, top-1, top-5.
        note: Licence note on the data.
    """

    variant: Mapping[str, Any]
    class_names: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    recipe: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    note: str = DEFAULT_NOTE


def preprocessing_of(side: int) -> dict[str, Any]:
    """What a header says about the input."""
    return {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "side": side}


def save_classifier(path: Path, network: GoogLeNet, header: ClassifierHeader) -> None:
    """Writes a classifier in half precision; statistics and biases stay as they are. Auxiliary parts are left out."""
    tensors = {k: v for k, v in network.state_dict().items() if not k.startswith(("aux1.", "aux2."))}
    save_tensors(path, halved(tensors), CLASSIFIER_FORMAT, vars(header))


class Classifier:
    """A network that names images.

    Args:
        network: With a classifier; taken over.
        class_names: C names.
        side: Side of the input that it was trained for.
        compute: Where, and in which precision.
    """

    def __init__(
        self,
        network: GoogLeNet,
        *,
        class_names: tuple[str, ...],
        side: int,
        compute: Compute,
    ) -> None:
        self.class_names = class_names
        self.side = side
        self._device, self._precision = compute
        self.network = network.to(self._device).to(memory_format=torch.channels_last).eval()
        self._normalize = ColourNormalization().to(self._device)

    @torch.inference_mode()
    def probabilities(self, crops: npt.NDArray[np.uint8]) -> Tensor:
        """(B, S', S', 3) uint8 RGB of any side -> (B, C) float32 softmax, on the CPU."""
        images = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2)
        mixed = self._precision != torch.float32
        with torch.autocast(self._device.type, self._precision) if mixed else nullcontext():
            logits = self.network(self._normalize(images, torch.float32)).logits
        return logits.float().softmax(dim=1).cpu()


def load_classifier_header(path: Path) -> ClassifierHeader:
    """Reads what a classifier's file says besides its weights.

    Raises:
        InputError: If the file is missing, damaged, or no classifier.
    """
    return _load(path, header_only=True)[1]


def _load(path: Path, *, header_only: bool) -> tuple[dict[str, Tensor], ClassifierHeader]:
    remedy = "give a model.safetensors that `multibox pretrain` wrote"
    tensors, values = load_tensors(path, CLASSIFIER_FORMAT, remedy, header_only=header_only)
    try:
        header = ClassifierHeader(class_names=tuple(values.pop("class_names")), **values)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: its header lacks or adds fields ({error}); train the classifier anew") from error
    if not isinstance(header.variant, Mapping) or not isinstance(header.preprocessing, Mapping):
        raise InputError(f"{path}: its header is none of ours; train the classifier anew")
    return tensors, header


def load_classifier(path: Path, *, device: str = "auto", precision: str = "auto") -> Classifier:
    """Reads a classifier's file, or that of a run's folder.

    Raises:
        InputError: If the file is missing, damaged, or no classifier.
    """
    path = model_file(path)
    tensors, header = _load(path, header_only=False)
    try:
        network = GoogLeNet(len(header.class_names), variant=Variant(**header.variant))
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        side = int(header.preprocessing["side"])
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{path}: weights and header do not fit together: {error}") from error
    return Classifier(
        network,
        class_names=header.class_names,
        side=side,
        compute=choose_compute(device, precision),
    )

"""Where the backbone's weights come from: this package, a file, torchvision, or nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import GoogLeNet_Weights

from backbone.googlenet import GoogLeNet
from backbone.variant import Variant

CLASSIFIER_FORMAT = "multibox-rcnn classifier 1"
"""Format of the files that ``multibox pretrain`` writes, in their header."""

METADATA_KEY = "multibox-rcnn"
"""Where the JSON header stands among a file's metadata."""

SHIPPED_NAME = "googlenet_tiny_imagenet.safetensors"
"""The weights that come with this package; their header tells data, recipe, accuracy and terms."""

_DETECTOR_PREFIX = "backbone."
_CLASSIFIER_PREFIXES = ("fc.", "aux1.", "aux2.")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_trunk(network: GoogLeNet, state_dict: Mapping[str, Tensor], origin: str) -> None:
    """Copies a state dict into ``network``, whose classifier may be missing; everything else must fit exactly.

    Args:
        network: The network to fill, in place.
        state_dict: Parameters and buffers under torchvision's names.
        origin: Where they came from, for the message.

    Raises:
        ValueError: If keys are missing or unexpected, or a shape differs; all of them are listed.
    """
    own = network.state_dict()
    given = {k: v for k, v in state_dict.items() if k in own or not k.startswith(_CLASSIFIER_PREFIXES)}
    faults = [f"missing: {key}" for key in own.keys() - given.keys()]
    faults += [f"unexpected: {key}" for key in given.keys() - own.keys()]
    faults += [
        f"shape of {key}: expected {tuple(own[key].shape)}, got {tuple(given[key].shape)}"
        for key in own.keys() & given.keys()
        if own[key].shape != given[key].shape
    ]
    if faults:
        raise ValueError(f"{origin}: these weights do not fit this GoogLeNet: " + "; ".join(sorted(faults)))
    network.load_state_dict(given)


@torch.no_grad()
def _take_imagenet_colours(network: GoogLeNet) -> None:
    """Fits weights that were trained on (pixel - 0.5) / 0.5 to images normalised by IMAGENET_MEAN and IMAGENET_STD.

    Torchvision's ``transform_input``: x * (std / 0.5) + (mean - 0.5) / 0.5, here merged into the first convolution
    and its normalisation. Exact but for the border, where padding now means the mean colour instead of grey.
    """
    scale, shift = ((torch.tensor(v) - o) / 0.5 for v, o in ((IMAGENET_STD, 0.0), (IMAGENET_MEAN, 0.5)))
    conv, bn = network.conv1.conv, network.conv1.bn
    bn.get_buffer("running_mean").sub_((conv.weight.sum(dim=(2, 3)) * shift).sum(dim=1))
    conv.weight.mul_(scale[:, None, None])


def halved(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half precision; vectors (biases, statistics) keep theirs, since their range may be wide."""
    return {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in state_dict.items()}


def load_backbone_weights(network: GoogLeNet, source: str) -> None:
    """Fills ``network`` from ``source``, in place.

    Args:
        network: The backbone.
        source: ``shipped`` (of this package), ``none`` (keep the random start), ``torchvision`` (downloads ImageNet
            weights), or a safetensors file: of ``multibox pretrain``, or a detector, whose backbone is taken.

    Raises:
        ValueError: If the file is missing, is not a safetensors file, or does not fit.
    """
    if source == "none":
        return
    if source in ("shipped", "torchvision") and network.variant != Variant():
        raise ValueError(
            f"{source}: these weights fit {Variant()}, this network is {network.variant}; train your own with "
            f"`multibox pretrain` and name the file, or take none"
        )
    if source == "shipped":
        with resources.as_file(resources.files("backbone").joinpath(SHIPPED_NAME)) as path:
            if not path.is_file():
                raise ValueError(f"shipped: this installation lacks {SHIPPED_NAME}; install anew, or take none")
            load_trunk(network, load_file(path), SHIPPED_NAME)
        return
    if source == "torchvision":
        load_trunk(network, _download_imagenet(), "torchvision")
        _take_imagenet_colours(network)
        return
    _load_file(network, source)


def _download_imagenet() -> dict[str, Tensor]:
    """Torchvision's weights, downloaded or from its cache; a file other than the one meant is not opened."""
    try:
        return dict(GoogLeNet_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except (RuntimeError, UnpicklingError) as error:
        raise ValueError(
            f"torchvision: its file is not what it should be ({error}); take googlenet-*.pth out of torch's cache of "
            "downloads and try anew"
        ) from error


def _load_file(network: GoogLeNet, source: str) -> None:
    if not Path(source).is_file():
        raise ValueError(
            f"backbone weights {source!r}: no such file; give a safetensors file, shipped, torchvision or none"
        )
    try:
        state_dict = load_file(source)
    except SafetensorError as error:
        raise ValueError(f"{source}: not a safetensors file ({error}); give backbone weights in that format") from error
    if (stored := _stored_variant(source)) not in (None, network.variant):
        raise ValueError(
            f"{source}: the file holds {stored}, this network is {network.variant}; "
            f"set block, norm and five_kernel alike"
        )
    own = {k.removeprefix(_DETECTOR_PREFIX): v for k, v in state_dict.items() if k.startswith(_DETECTOR_PREFIX)}
    load_trunk(network, own or state_dict, source)


def _stored_variant(source: str) -> Variant | None:
    """The variant that a classifier's header names; None where it names none."""
    with safe_open(source, framework="pt") as file:
        metadata = file.metadata() or {}
    try:
        header = json.loads(metadata[METADATA_KEY])
        return Variant(**header["variant"])
    except (KeyError, TypeError, ValueError, RecursionError):  # not ours: names and shapes of the weights decide
        return None

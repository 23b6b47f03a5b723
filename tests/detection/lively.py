"""An untrained detector that nevertheless answers: many detections, of every class."""

from __future__ import annotations

from pathlib import Path

import torch

from configs.load import config_from_dict
from configs.schema import Config
from detection.checkpoint import ModelHeader, save_model
from detection.detector import Detector
from detection.device import Compute
from detection.network import DetectionNetwork
from detection.preprocess import stack_images
from detection.roi_classifier import RoiClassifier
from proposals.multibox import ConvolutionalMultiBox, InputSizes
from tests.builders import random_patches
from tests.detection.tiny import CLASSES, tiny_config, tiny_network


@torch.no_grad()
def settle_statistics(network: DetectionNetwork) -> None:
    """Gives every normalisation the statistics of one batch: activations get the scale of a trained network."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()
    pyramid = network.extract(stack_images([random_patches((96, 96), seed) for seed in range(4)]))
    assert network.multibox is not None
    network.multibox(pyramid, InputSizes((96, 96), [(96, 96)] * 4))
    for look in looks_of(network):
        look(pyramid, [torch.tensor([[0.0, 0.0, 60.0, 60.0]])] * 4)
    network.eval()


def looks_of(network: DetectionNetwork) -> list[RoiClassifier]:
    """The classifiers of its looks, in order."""
    return [network.classifier] + ([] if network.second_look is None else [network.second_look])


def liven_heads(network: DetectionNetwork, *, logits: float, offsets: float) -> None:
    """Gives the members of all looks weights of these deviations."""
    for look in looks_of(network):
        torch.nn.init.normal_(look.heads.logit_weight, std=logits)
        if look.heads.offset_weight is not None:
            torch.nn.init.normal_(look.heads.offset_weight, std=offsets)


def lively_config(**classifier: object) -> Config:
    """``tiny_config`` with other settings of the classifier."""
    values = tiny_config().model_dump(mode="json")
    values["classifier"] |= classifier
    return config_from_dict(values, schema=Config)


def make_lively_network(**classifier: object) -> DetectionNetwork:
    """An untrained network of ``lively_config`` whose heads answer at random, so that there are many detections."""
    network = tiny_network(lively_config(**classifier))
    torch.manual_seed(3)
    settle_statistics(network)
    with torch.no_grad():
        assert isinstance(network.multibox, ConvolutionalMultiBox)
        for projection in network.multibox.head.projections:
            torch.nn.init.normal_(projection.weight, std=0.02)
            torch.nn.init.zeros_(projection.bias)
        liven_heads(network, logits=0.2, offsets=0.05)
    return network


def save_lively_model(folder: Path, **classifier: object) -> Path:
    """The model file of such a network, in a folder."""
    torch.manual_seed(0)
    header = ModelHeader(lively_config(**classifier).model_dump(mode="json"), CLASSES, (1, 7, 9), {})
    save_model(folder / "model.safetensors", make_lively_network(**classifier).state_dict(), header)
    return folder / "model.safetensors"


CPU = Compute(torch.device("cpu"), torch.float32)


def detector_of(network: DetectionNetwork, compute: Compute = CPU) -> Detector:
    return Detector(
        network,
        class_names=CLASSES,
        category_ids=(1, 7, 9),
        longest_side=tiny_config().input.longest_side,
        compute=compute,
    )

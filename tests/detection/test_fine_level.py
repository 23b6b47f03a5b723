"""Regions are pooled from a finer level than objects are searched on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configs.load import config_from_dict
from configs.schema import Config
from detection.build import build_network, load_detector
from detection.checkpoint import ModelHeader, save_model
from proposals.multibox import InputSizes


def config_of(finest_stride: int) -> Config:
    plain = {"input": {"longest_side": 96}, "pyramid": {"channels": 16, "finest_stride": finest_stride}}
    return config_from_dict(plain, schema=Config)


@pytest.mark.parametrize(("finest_stride", "sides"), [(4, [24, 12, 6, 3]), (8, [12, 6, 3])])
def test_the_finest_level_is_for_pooling_alone(finest_stride: int, sides: list[int]) -> None:
    network = build_network(config_of(finest_stride), 3).eval()
    pyramid = network.extract(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    assert [level.shape[-1] for level in pyramid] == sides
    assert network.multibox is not None
    output = network.multibox(pyramid, InputSizes((96, 96), [(96, 96)]))
    assert output.logits.shape == (1, 3 * (12 * 12 + 6 * 6 + 3 * 3))
    assert network.classifier.strides == ((4, 8, 16, 32) if finest_stride == 4 else (8, 16, 32))


def test_a_small_region_is_judged_by_the_finest_level() -> None:
    network = build_network(config_of(4), 3).eval()
    pyramid = network.extract(torch.randint(0, 256, (1, 3, 96, 96), generator=torch.Generator().manual_seed(0)).byte())
    small, large = torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([[0.0, 0.0, 225.0, 225.0]])
    other = [pyramid[0] + 1.0, *pyramid[1:]]
    for region, same in ((small, False), (large, True)):
        first, second = (network.classifier(maps, [region]).logits for maps in (pyramid, other))
        assert torch.equal(first, second) is same


def test_a_model_of_before_there_was_a_choice_pools_from_stride_8(tmp_path: Path) -> None:
    config = config_of(8)
    document = config.model_dump(mode="json")
    del document["pyramid"]["finest_stride"]
    weights = build_network(config, 2).state_dict()
    save_model(tmp_path / "model.safetensors", weights, ModelHeader(document, ("cat", "dog"), (1, 2)))
    assert load_detector(tmp_path / "model.safetensors", device="cpu").network.classifier.strides == (8, 16, 32)

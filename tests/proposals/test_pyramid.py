"""The feature pyramid: shapes, the way down, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from backbone import Stage
from backbone.inception import fold_batch_norm
from proposals.pyramid import FeaturePyramid
from tests.backbone.networks import fill_parameters, num_batch_norms, random_images

STAGES = (Stage("fine", 4, 8), Stage("middle", 6, 16), Stage("coarse", 8, 32))
CHANNELS = 5
EVEN = ((8, 12), (4, 6), (2, 3))

SizesHw = tuple[tuple[int, int], ...]


def make_pyramid() -> FeaturePyramid:
    pyramid = FeaturePyramid(STAGES, CHANNELS)
    fill_parameters(pyramid)
    return pyramid


def random_features(sizes_hw: SizesHw = EVEN, batch_size: int = 2) -> dict[str, Tensor]:
    """A map for each stage, and one that no level uses."""
    features = {
        stage.name: random_images(batch_size, size, seed, stage.channels)
        for seed, (stage, size) in enumerate(zip(STAGES, sizes_hw, strict=True))
    }
    return {"unused": torch.zeros(batch_size, 1, 1, 1), **features}


@pytest.mark.parametrize(
    "sizes_hw", [EVEN, ((5, 7), (3, 4), (2, 2)), ((5, 7), (2, 3), (1, 1)), ((1, 1), (1, 1), (1, 1))]
)
def test_shapes(sizes_hw: SizesHw) -> None:
    levels = make_pyramid().eval()(random_features(sizes_hw))
    assert [tuple(level.shape) for level in levels] == [(2, CHANNELS, *size) for size in sizes_hw]


def test_the_way_down_by_hand() -> None:
    """Without convolutions: coarse [[1, 2]]; middle 2 x 4 adds it to 10; fine 3 x 4 adds the middle to its own 100.

    Fine row r reads middle row floor(r * 2 / 3) = 0, 0, 1.
    """
    pyramid = FeaturePyramid(STAGES, CHANNELS)
    pyramid.laterals = nn.ModuleList(nn.Identity() for _ in STAGES)
    pyramid.outputs = nn.ModuleList(nn.Identity() for _ in STAGES)
    middle = torch.tensor([[10.0, 10.0, 10.0, 10.0], [20.0, 20.0, 20.0, 20.0]])
    features = {"fine": torch.full((3, 4), 100.0), "middle": middle, "coarse": torch.tensor([[1.0, 2.0]])}
    levels = pyramid({name: feature[None, None] for name, feature in features.items()})
    assert levels[2].squeeze().tolist() == [1, 2]
    assert levels[1].squeeze().tolist() == [[11, 11, 12, 12], [21, 21, 22, 22]]
    assert levels[0].squeeze().tolist() == [[111, 111, 112, 112], [111, 111, 112, 112], [121, 121, 122, 122]]


def test_finest_output_teaches_every_lateral() -> None:
    pyramid = make_pyramid().train()
    pyramid(random_features())[0].square().sum().backward()
    for lateral in pyramid.laterals:
        gradient = lateral.get_parameter("conv.weight").grad
        assert gradient is not None
        assert gradient.abs().max() > 1e-3
    for output in pyramid.outputs[1:]:
        assert output.get_parameter("conv.weight").grad is None


def test_coarse_levels_do_not_see_finer_ones() -> None:
    pyramid = make_pyramid().train()
    pyramid(random_features())[2].square().sum().backward()
    seen = [lateral.get_parameter("conv.weight").grad is not None for lateral in pyramid.laterals]
    assert seen == [False, False, True]


def test_features_are_left_as_they_are() -> None:
    features = random_features()
    before = {name: feature.clone() for name, feature in features.items()}
    make_pyramid()(features)
    assert all(torch.equal(features[name], before[name]) for name in before)


def test_folded_pyramid_answers_the_same() -> None:
    pyramid, features = make_pyramid().eval(), random_features()
    with torch.no_grad():
        expected = pyramid(features)
        fold_batch_norm(pyramid)
        levels = pyramid(features)
    assert num_batch_norms(pyramid) == 0
    assert min(level.std() for level in expected) > 0.1
    torch.testing.assert_close(levels, expected, rtol=0, atol=1e-4)


def test_batch_of_two_equals_two_singles() -> None:
    pyramid, features = make_pyramid().eval(), random_features()
    with torch.no_grad():
        together = pyramid(features)
        singles = [pyramid({name: feature[[row]] for name, feature in features.items()}) for row in range(2)]
    for level, alone in zip(together, zip(*singles, strict=True), strict=True):
        torch.testing.assert_close(level, torch.cat(alone), rtol=0, atol=1e-5)


def pyramid_with_fine_level() -> FeaturePyramid:
    pyramid = FeaturePyramid(STAGES[1:], CHANNELS, fine=STAGES[0])
    fill_parameters(pyramid)
    return pyramid


@pytest.mark.parametrize("sizes_hw", [EVEN, ((5, 7), (2, 3), (1, 1))])
def test_a_level_for_pooling_alone_comes_first_and_changes_no_other(sizes_hw: SizesHw) -> None:
    pyramid = pyramid_with_fine_level().eval()
    features = random_features(sizes_hw)
    levels = pyramid(features)
    assert [tuple(level.shape) for level in levels] == [(2, CHANNELS, *size) for size in sizes_hw]
    features["fine"] = torch.zeros_like(features["fine"])
    for level, without in zip(levels[1:], pyramid(features)[1:], strict=True):
        assert torch.equal(level, without)


def test_a_level_for_pooling_alone_by_hand() -> None:
    """Middle (1 x 2) has passed its own convolution, here a doubling of 10 + 1 and 20 + 1; fine adds it to 100."""
    pyramid = FeaturePyramid(STAGES[1:], CHANNELS, fine=STAGES[0])
    pyramid.laterals = nn.ModuleList(nn.Identity() for _ in STAGES[1:])
    pyramid.outputs = nn.ModuleList([Doubled(), nn.Identity()])
    pyramid.fine_lateral = nn.Identity()
    features = {"fine": torch.full((2, 4), 100.0), "middle": torch.tensor([[10.0, 20.0]]), "coarse": torch.ones(1, 1)}
    levels = pyramid({name: feature[None, None] for name, feature in features.items()})
    assert [tuple(level.shape[2:]) for level in levels] == [(2, 4), (1, 2), (1, 1)]
    assert levels[0].squeeze().tolist() == [[122, 122, 142, 142]] * 2


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2

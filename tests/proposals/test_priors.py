"""Prior sizes fitted to boxes, and priors laid over grids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from proposals.multibox_head import MultiBoxHead
from proposals.priors import fallback_sizes, fit_prior_sizes, lay_priors
from tests.proposals.boxes import as_boxes

STRIDES = (8, 16, 32)

Sizes = npt.NDArray[np.float32]


def test_lay_priors_by_hand() -> None:
    """Input 16 x 24 (height x width).

    Stride 8 has 2 x 3 cells, centres x 4, 12, 20 and y 4, 12; sizes 2x4 and 6x6.
    Stride 16 has 1 x 1 cell (24 // 16 = 1), centre (8, 8); sizes 16x8 and 10x20.
    """
    sizes = torch.tensor([[[2.0, 4.0], [6.0, 6.0]], [[16.0, 8.0], [10.0, 20.0]]])
    expected = as_boxes(
        # y = 4: x = 4, 12, 20; each 2x4 and then 6x6
        (3, 2, 5, 6), (1, 1, 7, 7), (11, 2, 13, 6), (9, 1, 15, 7), (19, 2, 21, 6), (17, 1, 23, 7),
        # y = 12
        (3, 10, 5, 14), (1, 9, 7, 15), (11, 10, 13, 14), (9, 9, 15, 15), (19, 10, 21, 14), (17, 9, 23, 15),
        # stride 16: (8 - 8, 8 - 4, 8 + 8, 8 + 4); (8 - 5, 8 - 10, 8 + 5, 8 + 10) leaves the image
        (0, 4, 16, 12), (3, -2, 13, 18),
    )  # fmt: skip
    priors = lay_priors(sizes, strides=(8, 16), input_size_hw=(16, 24))
    assert priors.dtype == torch.float32
    assert torch.equal(priors, expected)


def test_lay_priors_needs_a_stride_for_every_level() -> None:
    with pytest.raises(ValueError, match="zip"):
        lay_priors(torch.ones(2, 1, 2), strides=(8, 16, 32), input_size_hw=(32, 32))


def cell_centres(stride: int, input_size_hw: tuple[int, int]) -> Tensor:
    """(1, 2, H, W): x and y of every cell of a feature map, in pixels, found with loops."""
    height, width = input_size_hw[0] // stride, input_size_hw[1] // stride
    centres = torch.empty(1, 2, height, width)
    for row in range(height):
        for column in range(width):
            centres[0, :, row, column] = torch.tensor([(column + 0.5) * stride, (row + 0.5) * stride])
    return centres


def make_telling_head(prior_sizes: Tensor) -> MultiBoxHead:
    """A head without tower: offsets tell (centre x, centre y, prior width, height), the logit tells the prior.

    Its features hold the centres of their cells.
    """
    num_levels, priors_per_cell, _ = prior_sizes.shape
    head = MultiBoxHead(2, num_levels=num_levels, priors_per_cell=priors_per_cell, depth=0)
    for level, projection in enumerate(head.projections):
        assert isinstance(projection, nn.Conv2d)
        assert projection.bias is not None
        with torch.no_grad():
            projection.weight.zero_()
            projection.bias.zero_()
            for prior in range(priors_per_cell):
                first_offset = priors_per_cell + 4 * prior
                projection.bias[prior] = 10.0 * level + prior
                projection.weight[first_offset, 0] = 1.0  # x
                projection.weight[first_offset + 1, 1] = 1.0  # y
                projection.bias[first_offset + 2 : first_offset + 4] = prior_sizes[level, prior]
    return head


def test_priors_come_in_the_order_of_the_head() -> None:
    input_size_hw, strides = (32, 64), (8, 16)
    prior_sizes = torch.tensor([[[2.0, 4.0], [6.0, 5.0], [9.0, 9.0]], [[16.0, 8.0], [10.0, 20.0], [30.0, 31.0]]])
    priors = lay_priors(prior_sizes, strides=strides, input_size_hw=input_size_hw)
    head = make_telling_head(prior_sizes)
    with torch.no_grad():
        output = head([cell_centres(stride, input_size_hw) for stride in strides])
    centres_and_sizes = torch.cat([(priors[:, :2] + priors[:, 2:]) / 2, priors[:, 2:] - priors[:, :2]], dim=1)
    assert torch.equal(output.offsets[0], centres_and_sizes)
    # 4 x 8 cells of stride 8, then 2 x 4 of stride 16; the prior changes fastest.
    assert output.logits[0].tolist() == [0.0, 1.0, 2.0] * 32 + [10.0, 11.0, 12.0] * 8


CLUSTERS = np.array([[10, 12], [20, 16], [30, 60], [90, 50], [100, 200], [300, 250]], dtype=np.float32)


def clustered_sizes(seed: int = 0, members: int = 40) -> Sizes:
    """Boxes whose sides spread by 2 % about the six CLUSTERS, shuffled."""
    rng = np.random.default_rng(seed)
    sizes = np.repeat(CLUSTERS, members, axis=0) * np.exp(rng.normal(0.0, 0.02, (6 * members, 2)))
    return rng.permutation(sizes).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_well_separated_clusters_are_found(seed: int) -> None:
    fitted = fit_prior_sizes(clustered_sizes(seed), strides=STRIDES, priors_per_level=2, seed=seed)
    assert fitted.shape == (3, 2, 2)
    assert fitted.dtype == torch.float32
    # Their areas ascend already: 120, 320, 1800, 4500, 20000, 75000.
    torch.testing.assert_close(fitted.reshape(6, 2), torch.from_numpy(CLUSTERS), rtol=0.03, atol=0.0)


def test_fitting_averages_the_logarithms() -> None:
    """Two groups for two priors: widths 10 and 40 have the geometric mean 20, not 25."""
    sizes = np.array([[10, 10], [40, 10]] * 50 + [[4000, 4000]] * 50, dtype=np.float32)
    fitted = fit_prior_sizes(sizes, strides=(8, 16), priors_per_level=1).reshape(2, 2)
    torch.testing.assert_close(fitted, torch.tensor([[20.0, 10.0], [4000.0, 4000.0]]), rtol=0.03, atol=0.0)


def test_same_seed_same_priors() -> None:
    sizes = np.random.default_rng(0).uniform(5, 300, (100, 2)).astype(np.float32)
    before = sizes.copy()
    fitted = [fit_prior_sizes(sizes, strides=STRIDES, priors_per_level=3, seed=seed) for seed in (4, 4, 5)]
    assert torch.equal(fitted[0], fitted[1])
    assert not torch.equal(fitted[0], fitted[2])
    assert np.array_equal(sizes, before)


@pytest.mark.parametrize("seed", range(3))
def test_areas_ascend_over_the_levels(seed: int) -> None:
    sizes = np.exp(np.random.default_rng(seed).uniform(1, 6, (200, 2))).astype(np.float32)
    areas = fit_prior_sizes(sizes, strides=STRIDES, priors_per_level=3, seed=seed).double().prod(dim=2).flatten()
    assert (areas[1:] >= areas[:-1] * (1 - 1e-6)).all()
    assert areas[-1] > 10 * areas[0]


@pytest.mark.parametrize("num_boxes", [2, 5, 50])
def test_equal_boxes_give_priors_about_them(num_boxes: int) -> None:
    """The noise that parts them has a deviation of 2 %, so 10 % are five deviations."""
    sizes = np.tile(np.array([[40.0, 25.0]], dtype=np.float32), (num_boxes, 1))
    fitted = fit_prior_sizes(sizes, strides=STRIDES, priors_per_level=3)
    assert fitted.shape == (3, 3, 2)
    torch.testing.assert_close(fitted, torch.tensor([40.0, 25.0]).expand(3, 3, 2), rtol=0.1, atol=0.0)
    assert len(fitted.reshape(9, 2).unique(dim=0)) == 9


@pytest.mark.parametrize("num_boxes", [0, 1])
def test_too_few_boxes_fall_back_to_squares(num_boxes: int) -> None:
    """Factors 4 * 2^(0/2) = 4 and 4 * 2^(1/2) = 5.657 of the strides."""
    fitted = fit_prior_sizes(np.full((num_boxes, 2), 7.0, dtype=np.float32), strides=STRIDES, priors_per_level=2)
    root = 2**0.5
    sides = torch.tensor([[32.0, 32 * root], [64.0, 64 * root], [128.0, 128 * root]])
    torch.testing.assert_close(fitted, sides[..., None].expand(3, 2, 2))
    assert torch.equal(fitted, fallback_sizes(STRIDES, 2))


@pytest.mark.parametrize(
    "sizes",
    [
        [[1e-3, 1e-3], [1e5, 1e5]],
        [[1.0, 1000.0], [1000.0, 1.0], [1.0, 1.0]],
        [[5.0, 5.0]] * 3 + [[500.0, 500.0]],
    ],
    ids=["far apart", "thin", "mostly equal"],
)
def test_odd_boxes_give_finite_priors(sizes: list[list[float]]) -> None:
    fitted = fit_prior_sizes(np.array(sizes, dtype=np.float32), strides=STRIDES, priors_per_level=3)
    assert fitted.shape == (3, 3, 2)
    assert fitted.isfinite().all()
    assert (fitted > 0).all()


def test_priors_of_an_evaluation_can_be_learnt_with_afterwards() -> None:
    sizes = torch.tensor([[[3.25, 7.5]]])
    with torch.inference_mode():
        lay_priors(sizes, strides=(8,), input_size_hw=(16, 24))
    assert not lay_priors(sizes, strides=(8,), input_size_hw=(16, 24)).is_inference()

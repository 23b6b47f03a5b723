"""Whole boxes as priors: clusters of the training boxes, and a grid where there are none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from proposals import global_priors
from proposals.global_coder import normalize
from proposals.global_priors import fit_global_priors, regular_boxes
from tests.proposals.boxes import as_boxes, random_boxes

IMAGE_SIZE_HW = (60, 80)

Boxes = npt.NDArray[np.float32]

CLUSTERS = as_boxes((0.1, 0.1, 0.2, 0.2), (0.7, 0.1, 0.9, 0.2), (0.5, 0.5, 0.8, 0.9), (0.0, 0.0, 1.0, 1.0))


def random_norm(num_boxes: int, seed: int = 0) -> Boxes:
    return normalize(random_boxes(num_boxes, IMAGE_SIZE_HW, seed=seed), IMAGE_SIZE_HW).numpy()


def assert_valid_priors(priors: Tensor, num_priors: int) -> None:
    """Float32 boxes with an area, inside the image, areas ascending."""
    assert priors.shape == (num_priors, 4)
    assert priors.dtype == torch.float32
    assert ((priors >= 0) & (priors <= 1)).all()
    sides = priors[:, 2:] - priors[:, :2]
    assert (sides > 0).all()
    assert (sides.double().prod(dim=1).diff() >= -1e-6).all()


def test_regular_boxes_by_hand() -> None:
    """The image; 2 x 2 boxes of sides 2/3, from 0 and from 1/3; then two of the 3 x 3, the first and the last."""
    third = 1 / 3
    expected = [
        [0, 0, 1, 1],
        [0, 0, 2 * third, 2 * third],
        [third, 0, 1, 2 * third],
        [0, third, 2 * third, 1],
        [third, third, 1, 1],
        [0, 0, 0.5, 0.5],
        [0.5, 0.5, 1, 1],
    ]
    np.testing.assert_allclose(regular_boxes(7), expected)
    np.testing.assert_allclose(regular_boxes(1), expected[:1])
    assert regular_boxes(0).shape == (0, 4)


@pytest.mark.parametrize("seed", range(4))
def test_well_separated_clusters_are_found(seed: int) -> None:
    """A spread of 0.002 about each; CLUSTERS ascend in area: 0.01, 0.02, 0.12, 1."""
    rng = np.random.default_rng(seed)
    boxes = np.repeat(CLUSTERS.numpy(), 50, axis=0) + rng.normal(0, 0.002, (200, 4))
    boxes = rng.permutation(boxes).astype(np.float32)
    fitted = fit_global_priors(boxes, num_priors=4, seed=seed)
    torch.testing.assert_close(fitted, CLUSTERS, rtol=0, atol=0.003)


def test_one_prior_is_the_mean_box() -> None:
    boxes = random_norm(30)
    torch.testing.assert_close(fit_global_priors(boxes, num_priors=1), torch.from_numpy(boxes.mean(axis=0))[None])


def test_same_seed_same_priors() -> None:
    boxes = random_norm(300)
    before = boxes.copy()
    fitted = [fit_global_priors(boxes, num_priors=20, seed=seed) for seed in (4, 4, 5)]
    assert torch.equal(fitted[0], fitted[1])
    assert not torch.equal(fitted[0], fitted[2])
    assert np.array_equal(boxes, before)


@pytest.mark.parametrize(("num_boxes", "num_priors"), [(300, 40), (41, 40), (40, 40), (7, 40), (1, 5), (0, 40), (0, 1)])
def test_any_number_of_boxes_gives_valid_priors(num_boxes: int, num_priors: int) -> None:
    assert_valid_priors(fit_global_priors(random_norm(num_boxes), num_priors=num_priors), num_priors)


def test_few_boxes_are_priors_themselves() -> None:
    """Equal ones once; the grid is the rest."""
    boxes = np.repeat(random_norm(3), 10, axis=0)
    fitted = fit_global_priors(boxes, num_priors=8)
    expected = {tuple(row) for row in np.vstack([boxes, regular_boxes(5).astype(np.float32)]).tolist()}
    assert {tuple(row) for row in fitted.tolist()} == expected
    assert len(expected) == 8


def test_no_boxes_give_the_grid() -> None:
    fitted = fit_global_priors(np.zeros((0, 4), dtype=np.float32), num_priors=14)
    assert {tuple(row) for row in fitted.tolist()} == {tuple(row) for row in regular_boxes(14).astype("f4").tolist()}


def test_more_boxes_than_needed_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = random_norm(100)
    every = fit_global_priors(boxes, num_priors=1)
    monkeypatch.setattr(global_priors, "_MAX_BOXES", 50)
    sampled = [fit_global_priors(boxes, num_priors=1, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(sampled[0], sampled[1])
    assert not torch.equal(sampled[0], sampled[2])
    assert (sampled[0] - every).abs().max() < 0.1

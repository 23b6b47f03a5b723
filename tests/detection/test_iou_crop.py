"""Crops that keep an object: what they show, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detection.data.iou_crop import OVERLAPS, _show, iou_crop, possible_overlaps
from detection.data.scene import OBJECT, Scene
from detection.preprocess import PAD_COLOUR


def scene_of(size_hw: tuple[int, int], boxes: list[list[float]]) -> Scene:
    """Black, with white objects."""
    count = len(boxes)
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    for left, top, right, bottom in np.array(boxes, dtype=int).reshape(-1, 4):
        image[top:bottom, left:right] = 255
    return Scene(
        image,
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.arange(count),
        np.zeros(count, dtype=np.bool_),
        np.full(count, OBJECT),
        np.ones(count, dtype=np.float32),
    )


def test_a_window_by_hand() -> None:
    """40 x 40 of 80 x 100 pixels, twice as large: 80 x 80, and 20 columns of padding at the right."""
    scene = scene_of((80, 100), [[10, 20, 30, 40], [70, 60, 90, 70]])
    view = _show(scene, (20, 10, 60, 50))
    assert view.image.shape == (80, 100, 3)
    assert (view.image[:, 80:] == PAD_COLOUR).all()
    assert view.boxes.tolist() == [[0, 20, 20, 60]]  # [20, 20, 30, 40] is inside; less (20, 10), times 2
    assert view.rows.tolist() == [0]
    assert view.visible.tolist() == [0.5]


def test_boxes_follow_the_pixels_and_an_object_is_always_kept() -> None:
    cropped = 0
    for seed in range(40):
        scene = scene_of((80, 100), [[40, 30, 60, 50]])
        result = iou_crop(scene, probability=1.0, seed=seed)
        assert result.size_hw == (80, 100)
        assert result.labels.tolist() == [0]
        cropped += result is not scene
        ys, xs = np.nonzero(result.image.min(axis=2) > 160)
        patch = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(result.boxes[0], patch, atol=2.1)
    assert 10 < cropped < 40  # of the overlaps 0.0, 0.1, 0.3, 0.5 and 1.0 the last leaves the whole image


def test_a_crop_that_leaves_too_little_of_every_object_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window cuts a quarter of the object, which torchvision would keep: its centre is just inside."""
    scene = scene_of((80, 100), [[20, 20, 60, 60]])
    monkeypatch.setattr("detection.data.iou_crop._draw_window", lambda objects, size_hw, *, seed: (39, 39, 100, 80))
    assert iou_crop(scene, probability=1.0, seed=0) is scene
    monkeypatch.setattr("detection.data.iou_crop._draw_window", lambda objects, size_hw, *, seed: (30, 30, 100, 80))
    assert iou_crop(scene, probability=1.0, seed=0) is not scene


def test_the_share_that_is_left_is_that_of_the_area() -> None:
    """Two objects of one size: where the first is whole, its size now tells the share of the second."""
    shares = []
    for seed in range(50):
        result = iou_crop(scene_of((80, 100), [[10, 10, 30, 30], [60, 40, 80, 60]]), probability=1.0, seed=seed)
        if result.visible.tolist()[:1] == [1.0] and len(result.labels) == 2:
            areas = (result.boxes[:, 2:] - result.boxes[:, :2]).prod(axis=1)
            assert result.visible[1] == pytest.approx(areas[1] / areas[0], rel=1e-3)
            shares.append(result.visible[1])
    assert min(shares) < 0.9


def test_overlaps_that_no_crop_can_have_are_not_tried() -> None:
    # The smallest crop of 80 x 100 pixels has 24 * 30 = 720.
    assert possible_overlaps(np.array([[40, 30, 60, 50]], dtype=np.float32), (80, 100)) == [0.0, 0.1, 0.3, 0.5, 1.0]
    assert possible_overlaps(np.array([[0, 0, 5, 5], [0, 0, 8, 8]], dtype=np.float32), (80, 100)) == [0.0, 1.0]
    assert possible_overlaps(np.array([[0, 0, 40, 40]], dtype=np.float32), (80, 100)) == list(OVERLAPS)


def test_no_crop_overlaps_more_than_is_thought_possible() -> None:
    """By brute force: all windows of the allowed sizes at all places, of a small image with one object."""
    best = 0.0
    for height in range(6, 21):
        for width in range(6, 21):
            for top in range(21 - height):
                for left in range(21 - width):
                    inside = max(0, min(10, left + width) - max(5, left)) * max(0, min(10, top + height) - max(5, top))
                    best = max(best, inside / (25 + height * width - inside))
    possible = possible_overlaps(np.array([[5, 5, 10, 10]], dtype=np.float32), (20, 20))
    assert best == pytest.approx(25 / 36)
    assert [overlap for overlap in OVERLAPS if overlap <= best] == [overlap for overlap in possible if overlap < 1]


def test_the_seed_decides_and_the_shared_generator_does_not_matter() -> None:
    scene = scene_of((80, 100), [[40, 30, 60, 50]])
    torch.manual_seed(1)
    first = [iou_crop(scene, probability=0.5, seed=seed).boxes.tolist() for seed in range(40)]
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    assert first == [iou_crop(scene, probability=0.5, seed=seed).boxes.tolist() for seed in range(40)]
    assert 12 < sum(boxes == scene.boxes.tolist() for boxes in first) < 36  # 3 in 5 stay whole


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 3), (3, 300)])
def test_a_few_pixels_stay_as_they_are(size_hw: tuple[int, int]) -> None:
    scene = scene_of(size_hw, [[0, 0, 1, 1]])
    assert iou_crop(scene, probability=1.0, seed=0) is scene


def test_without_an_object_to_keep_nothing_is_cropped() -> None:
    one = scene_of((80, 100), [[40, 30, 60, 50]])
    ignored = replace(one, ignore=np.array([True]))
    hardly_there = replace(one, visible=np.array([0.1], dtype=np.float32))
    proposal = replace(one, rank=np.array([0]))
    for scene in (scene_of((80, 100), []), ignored, hardly_there, proposal):
        assert all(iou_crop(scene, probability=1.0, seed=seed) is scene for seed in range(10))
    assert all(iou_crop(one, probability=0.0, seed=seed) is one for seed in range(10))


def test_a_strip_that_no_window_suits_ends() -> None:
    scene = scene_of((10, 400), [[100, 0, 120, 10]])
    assert iou_crop(scene, probability=1.0, seed=0) is scene

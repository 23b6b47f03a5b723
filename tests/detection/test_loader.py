"""Training views and the order of batches."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.chance import dropout_seed, view_seed
from detection.data.augment import Augmentation, AugmentSettings
from detection.data.colour import ColourSettings
from detection.data.discover import load_dataset
from detection.data.image_cache import ImageCache
from detection.data.loader import (
    BatchPlan,
    SampleKey,
    TrainingSet,
    collate,
    plan_epoch,
)
from detection.data.scene import MIN_VISIBLE, View
from detection.preprocess import PAD_COLOUR
from tests.builders import random_pixels, toy_images, write_voc

STILL = AugmentSettings(horizontal_flip=0, vertical_flip=0, scale=(1.0, 1.0), colour=ColourSettings(0, 0, 0))
LIVELY = AugmentSettings(
    horizontal_flip=0.5, vertical_flip=0.5, scale=(0.6, 1.6), colour=ColourSettings(0.2, 0.2, 0.3, 0.02)
)


def view(settings: AugmentSettings, seed: int = 0) -> View:
    boxes = np.array([[10, 20, 30, 60], [0, 0, 5, 5]], dtype=np.float32)
    return Augmentation(settings)(random_pixels((80, 100)), boxes, seed=seed)


def test_nothing_asked_nothing_changed() -> None:
    image, boxes, rows, visible = view(STILL)
    assert np.array_equal(image, random_pixels((80, 100)))
    np.testing.assert_allclose(boxes, [[10, 20, 30, 60], [0, 0, 5, 5]], atol=1e-4)
    assert rows.tolist() == [0, 1]
    assert visible.tolist() == [1, 1]


def test_flips_move_the_boxes_with_the_pixels() -> None:
    horizontal = AugmentSettings(**{**vars(STILL), "horizontal_flip": 1.0})
    image, boxes, *_ = view(horizontal)
    assert np.array_equal(image, random_pixels((80, 100))[:, ::-1])
    np.testing.assert_allclose(boxes[0], [70, 20, 90, 60], atol=1e-3)  # 100 - 30, 100 - 10
    vertical = AugmentSettings(**{**vars(STILL), "vertical_flip": 1.0})
    np.testing.assert_allclose(view(vertical)[1][0], [10, 20, 30, 60], atol=1e-3)  # 80 - 60, 80 - 20


def test_the_draws_of_a_view_are_independent() -> None:
    """Both flips at one half: all four orientations occur. (One seed for each transform would give two.)"""
    flips = AugmentSettings(**{**vars(STILL), "horizontal_flip": 0.5, "vertical_flip": 0.5})
    corners = {
        tuple(Augmentation(flips)(random_pixels((8, 8)), np.zeros((0, 4)), seed=s).image[0, 0]) for s in range(40)
    }
    pixels = random_pixels((8, 8))
    assert corners == {tuple(pixels[row, column]) for row in (0, -1) for column in (0, -1)}


def test_visible_share_of_a_cut_object() -> None:
    """The kept box and the zoom that it shows itself give the share: an object that is not cut keeps its aspect."""
    zooming = AugmentSettings(**{**vars(STILL), "scale": (1.5, 1.5)})
    boxes = np.array([[0, 30, 20, 50], [40, 30, 60, 50]], dtype=np.float32)
    for seed in range(20):
        _, kept, rows, visible = Augmentation(zooming)(random_pixels((80, 100)), boxes, seed=seed)
        shares = dict(zip(rows.tolist(), visible.tolist(), strict=True))
        assert shares[1] == pytest.approx(1, abs=1e-3)
        if 0 in shares:
            width, height = kept[rows.tolist().index(0), 2:] - kept[rows.tolist().index(0), :2]
            assert shares[0] == pytest.approx(width * height / 30**2, abs=1e-3)  # 20 px zoomed by 1.5


def test_boxes_follow_a_marked_patch_through_zoom_and_shift() -> None:
    zooming = AugmentSettings(**{**vars(STILL), "scale": (0.6, 1.6)})
    for seed in range(12):
        image = np.zeros((80, 100, 3), dtype=np.uint8)
        image[30:50, 40:60] = 255
        found, boxes, *_ = Augmentation(zooming)(image, np.array([[40, 30, 60, 50]], dtype=np.float32), seed=seed)
        ys, xs = np.nonzero(found.min(axis=2) > 160)
        patch = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(boxes[0], patch, atol=1.6)


def test_the_seed_decides_the_view() -> None:
    assert np.array_equal(view(LIVELY, 5)[0], view(LIVELY, 5)[0])
    assert not np.array_equal(view(LIVELY, 5)[0], view(LIVELY, 6)[0])


def test_boxes_stay_inside_and_rows_tell_which_are_left() -> None:
    boxes = np.array([[0, 0, 12, 12], [45, 35, 55, 45], [88, 68, 100, 80]], dtype=np.float32)
    lost = cut = False
    for seed in range(30):
        _, kept, rows, visible = Augmentation(LIVELY)(random_pixels((80, 100)), boxes, seed=seed)
        assert len(kept) == len(rows) == len(visible)
        assert ((visible > 0) & (visible <= 1)).all()
        assert (kept >= 0).all()
        assert (kept[:, 2] <= 100).all()
        assert (kept[:, 3] <= 80).all()
        assert 1 in rows  # the middle is never lost
        lost |= len(rows) < 3
        cut |= bool((visible < MIN_VISIBLE).any())
    assert lost
    assert cut


def test_no_boxes() -> None:
    _, boxes, rows, _ = Augmentation(LIVELY)(random_pixels((8, 8)), np.zeros((0, 4), dtype=np.float32), seed=0)
    assert boxes.shape == (0, 4)
    assert rows.shape == (0,)


def training_set(tmp_path: Path, settings: AugmentSettings, max_bytes: int = 10**9) -> TrainingSet:
    data = load_dataset(write_voc(tmp_path, {"train": toy_images(4)}), "train")
    return TrainingSet(data.images, Augmentation(settings), ImageCache(128, max_bytes))


def test_view_has_the_asked_size_and_scaled_boxes(tmp_path: Path) -> None:
    dataset = training_set(tmp_path, STILL)
    record = next(r for r in dataset.records if len(r.boxes))
    sample = dataset[SampleKey(dataset.records.index(record), 0, 64)]
    scale = 64 / max(record.size_hw)
    assert max(sample.image.shape[:2]) == 64
    torch.testing.assert_close(sample.target.boxes, torch.from_numpy(record.boxes * scale), atol=0.6, rtol=0)
    assert sample.target.labels.tolist() == record.labels.tolist()
    assert sample.target.ignore.tolist() == record.ignore.tolist()


def test_an_object_cut_by_the_view_is_ignored(tmp_path: Path) -> None:
    dataset = training_set(tmp_path, LIVELY)
    seen = False
    for seed in range(30):
        for image in range(4):
            record = dataset.records[image]
            target = dataset[SampleKey(image, seed, 96)].target
            seen |= int(target.ignore.sum()) > int(record.ignore.sum())
    assert seen


def test_a_file_that_breaks_later_teaches_nothing_and_is_told(tmp_path: Path) -> None:
    dataset = training_set(tmp_path, STILL)
    path = dataset.records[0].path
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])  # the header is whole
    sample = dataset[SampleKey(0, 0, 64)]
    assert path.name in sample.errors[sample.file_name]
    assert (sample.image == np.array(PAD_COLOUR)).all()
    assert sample.target.ignore.all()
    batch = collate([sample, dataset[SampleKey(1, 0, 64)]])
    assert list(batch.errors) == [sample.file_name]


def test_cache_changes_nothing_and_obeys_its_limit(tmp_path: Path) -> None:
    cached, uncached = training_set(tmp_path, LIVELY), training_set(tmp_path, LIVELY, max_bytes=0)
    for _ in range(2):
        for index in range(4):
            key = SampleKey(index, 7, 96)
            assert np.array_equal(cached[key].image, uncached[key].image)
    assert uncached.cache.free_bytes == 0
    assert cached.cache.free_bytes < 10**9


def test_collate_pads_to_a_common_size(tmp_path: Path) -> None:
    dataset = training_set(tmp_path, STILL)
    batch = collate([dataset[SampleKey(index, 0, 96)] for index in range(4)])
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape[2] % 32 == batch.images.shape[3] % 32 == 0
    assert len(batch.targets) == len(batch.file_names) == 4


@pytest.mark.parametrize(("num_images", "batch_size"), [(1, 8), (7, 8), (8, 8), (9, 8), (100, 8), (301, 4)])
def test_every_image_once_an_epoch_in_full_batches(num_images: int, batch_size: int) -> None:
    aspects = np.linspace(0.5, 2, num_images)
    batches = plan_epoch(aspects, batch_size=batch_size, seed=0, epoch=0)
    assert {len(batch) for batch in batches} == {min(batch_size, num_images)}
    drawn = [index for batch in batches for index in batch]
    assert set(drawn) == set(range(num_images))
    assert len(drawn) - num_images < batch_size
    assert batches == plan_epoch(aspects, batch_size=batch_size, seed=0, epoch=0)
    if num_images > batch_size:
        assert batches != plan_epoch(aspects, batch_size=batch_size, seed=0, epoch=1)
        assert batches != plan_epoch(aspects, batch_size=batch_size, seed=1, epoch=0)


def test_images_of_like_shape_share_a_batch() -> None:
    aspects = np.array([0.75, 1.33] * 32)
    batches = plan_epoch(aspects, batch_size=8, seed=0, epoch=0)
    assert all(len({aspects[index] for index in batch}) == 1 for batch in batches)


def test_a_resumed_plan_gives_the_keys_that_are_left() -> None:
    def keys(first_step: int, count: int) -> list[list[SampleKey]]:
        plan = BatchPlan(
            np.ones(5), batch_size=2, seed=9, first_step=first_step, side_at=lambda step: 64 if step < 4 else 96
        )
        assert plan.steps_per_epoch == 3
        return list(islice(plan, count))

    whole = keys(0, 7)
    assert keys(4, 3) == whole[4:]
    assert [batch[0].longest_side for batch in whole] == [64] * 4 + [96] * 3
    assert [key.image for key in whole[3]] == plan_epoch(np.ones(5), batch_size=2, seed=9, epoch=1)[0]
    assert whole[4][1].seed == view_seed(9, 4, 1)


def test_each_process_drops_other_features() -> None:
    """A generator on the CPU keeps 32 bits of its seed, so these are all that may tell processes apart."""
    seeds = [dropout_seed(seed, step, rank) for seed in range(3) for step in range(50) for rank in range(4)]
    assert max(seeds) < 2**32
    assert len({float(torch.rand(1, generator=torch.Generator().manual_seed(each))) for each in seeds}) == len(seeds)


def test_view_seeds_differ() -> None:
    seeds = {view_seed(seed, step, row) for seed in range(3) for step in range(50) for row in range(8)}
    assert len(seeds) == 3 * 50 * 8

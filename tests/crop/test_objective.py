"""What a member learns from: its share of objects, nothing ignored, and nothing at all where there is nothing."""

from __future__ import annotations

import pytest
import torch

from detection.chance import StepChance
from detection.crop import build as crop
from detection.crop import objective as objective_module
from detection.crop.objective import CropObjective, share_out
from detection.preprocess import stack_images
from detection.roi_sampling import RoiSamplingSettings, SampledRois
from detection.structures import Target
from proposals.structures import Proposals
from tests.builders import random_pixels
from tests.crop.small import crop_config
from tests.detection.tiny import target_of

LEFT, RIGHT = [4.0, 4.0, 44.0, 44.0], [50.0, 50.0, 90.0, 90.0]


def around(boxes: list[list[float]]) -> Proposals:
    """Proposals on each box (IoU above 0.5) and a grid of small ones (below)."""
    near = torch.tensor(boxes).reshape(-1, 1, 4) + torch.arange(8.0).reshape(1, 8, 1) / 2
    corners = torch.cartesian_prod(torch.arange(0, 80, 8.0), torch.arange(0, 80, 8.0))
    every = torch.cat([near.reshape(-1, 4), torch.cat([corners, corners + 16], dim=1)])
    return Proposals(every, torch.linspace(1, 0, len(every)), (96, 96))


def make_objective(*, box_regression: bool = True) -> CropObjective:
    member = crop.build_member(crop_config(box_regression=box_regression), 3)
    return crop.build_objective(crop_config("selective-search", box_regression=box_regression), member, None)


def run(objective: CropObjective, targets: list[Target], given: list[Proposals], seed: int = 0):  # type: ignore[no-untyped-def]
    images = stack_images([random_pixels((96, 96), seed=row) for row in range(len(targets))])
    return objective(images, targets, given, StepChance(seed, 0))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[SampledRois]:
    """Every sample that is drawn."""
    heard: list[SampledRois] = []
    original = objective_module.concatenate_rois

    def listen(rois: list[SampledRois]) -> SampledRois:
        heard.extend(rois)
        return original(rois)

    monkeypatch.setattr(objective_module, "concatenate_rois", listen)
    return heard


def test_a_step_has_a_quarter_objects_shared_out_to_its_images(drawn: list[SampledRois]) -> None:
    targets = [target_of([LEFT, RIGHT], [0, 2]), target_of([RIGHT], [1])]
    losses = run(make_objective(), targets, [around([LEFT, RIGHT]), around([RIGHT])])
    assert [len(rois.boxes) for rois in drawn] == [8, 8]  # 16 a step
    assert [int((rois.labels < 3).sum()) for rois in drawn] == [2, 2]
    assert set(losses) == {"region_class", "region_box"}
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())


@pytest.mark.parametrize(
    ("num_rois", "fraction", "num_images", "expected"),
    [
        (128, 0.25, 8, (16, 4)),
        (128, 0.25, 3, (42, 10)),
        (16, 0.25, 8, (2, 1)),
        (4, 0.25, 8, (1, 1)),
        (49, 0.01, 1, (49, 1)),
    ],
)
def test_a_step_is_shared_out_evenly_with_room_for_an_object(
    num_rois: int, fraction: float, num_images: int, expected: tuple[int, int]
) -> None:
    shared = share_out(RoiSamplingSettings(num_rois, fraction, foreground_iou=0.5), num_images)
    # As sample_rois counts them.
    assert (shared.num_rois, int(shared.num_rois * shared.foreground_fraction)) == expected


def test_ignored_objects_teach_nothing(drawn: list[SampledRois]) -> None:
    target = target_of([LEFT, RIGHT], [0, 1], ignore=[True, False])
    run(make_objective(), [target], [around([LEFT, RIGHT])])
    (rois,) = drawn
    assert set(rois.labels.tolist()) == {1, 3}
    background = rois.boxes[rois.labels == 3]
    inside = (background[:, 2:].clamp(max=44) - background[:, :2].clamp(min=4)).clamp(min=0).prod(dim=1)
    assert (inside / (background[:, 2:] - background[:, :2]).prod(dim=1) <= 0.5).all()


def test_background_alone_has_a_class_loss_only() -> None:
    losses = run(make_objective(), [target_of([], [])], [around([])])
    assert losses["region_class"] > 0
    assert losses["region_box"] == 0
    sum(losses.values()).backward()


def test_without_box_regression_there_is_one_loss() -> None:
    losses = run(make_objective(box_regression=False), [target_of([LEFT], [0])], [around([LEFT])])
    assert set(losses) == {"region_class"}


def test_nothing_to_learn_is_a_loss_of_nothing() -> None:
    """Blank views of unreadable files: ignored as a whole, without proposals."""
    objective = make_objective()
    whole = target_of([[0.0, 0.0, 96.0, 96.0]], [0], ignore=[True])
    losses = run(objective, [whole, whole], [around([LEFT]), Proposals(torch.zeros(0, 4), torch.zeros(0), (96, 96))])
    assert {name: loss.item() for name, loss in losses.items()} == {"region_class": 0.0}
    sum(losses.values()).backward()
    assert not objective.member.logits.bias.grad.any()


def test_the_proposer_is_no_part_of_what_is_learnt() -> None:
    config = crop_config("multibox")
    member = crop.build_member(config, 3)
    proposer = torch.nn.Identity()  # any module
    objective = crop.build_objective(config, member, proposer)  # type: ignore[arg-type]
    assert {name.split(".")[0] for name, _ in objective.named_parameters()} == {"member"}
    assert proposer not in list(objective.modules())

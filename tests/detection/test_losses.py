"""The training objective, above all where there is nothing to learn from."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from detection import build_training
from detection.chance import StepChance
from detection.ensemble import EnsembleOutput
from detection.losses import TrainingObjective, region_losses
from detection.postprocess import OFFSET_SCALE
from detection.roi_sampling import SampledRois
from detection.structures import Target
from tests.detection.tiny import target_of, tiny_config, tiny_network


def objective() -> TrainingObjective:
    config = tiny_config()
    return build_training.build_objective(config, tiny_network(config)).train()


def images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 96, 96), dtype=torch.uint8, generator=generator)


def losses_of(targets: list[Target]) -> tuple[dict[str, torch.Tensor], TrainingObjective]:
    module = objective()
    return module(images(len(targets)), targets, None, StepChance(0, 0)), module


def test_images_without_objects_give_finite_losses_and_gradients() -> None:
    losses, module = losses_of([target_of([], []), target_of([], [])])
    assert losses["proposal_box"].item() == 0
    assert losses["region_box"].item() == 0
    assert losses["region_class"].item() > 0
    assert losses["proposal_objectness"].item() > 0
    torch.stack(list(losses.values())).sum().backward()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert module.network.backbone.conv1.conv.weight.grad is not None
    assert module.network.backbone.conv1.conv.weight.grad.abs().sum() > 0


def test_only_ignored_objects_are_like_none_for_boxes() -> None:
    losses, _ = losses_of([target_of([[10, 10, 50, 50]], [1], [True])])
    assert losses["proposal_box"].item() == 0
    assert losses["region_box"].item() == 0


def test_every_part_learns_from_objects() -> None:
    losses, module = losses_of([target_of([[10, 10, 50, 50]], [1]), target_of([], [])])
    assert all(loss.item() > 0 and math.isfinite(loss.item()) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    without = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in without if not name.endswith("bias")] == []


def test_weights_scale_the_parts() -> None:
    plain = tiny_config()
    weighted = plain.model_copy(
        update={
            "train": plain.train.model_copy(
                update={"loss_weights": plain.train.loss_weights.model_copy(update={"region_box": 3.0})}
            )
        }
    )
    targets = [target_of([[10, 10, 50, 50]], [1])]
    one = build_training.build_objective(plain, tiny_network(plain)).eval()
    three = build_training.build_objective(weighted, tiny_network(weighted)).eval()
    first = one(images(1), targets, None, StepChance(0, 0))
    second = three(images(1), targets, None, StepChance(0, 0))
    torch.testing.assert_close(second["region_box"], first["region_box"] * 3)
    torch.testing.assert_close(second["region_class"], first["region_class"])


def hand_rois() -> SampledRois:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0]])
    return SampledRois(boxes, torch.tensor([0, 2]), boxes)  # class 0 of two, and background


def test_region_losses_by_hand() -> None:
    # One member, two regions, logits (0, 0, 0): every cross entropy is log 3. Offsets 0 on the object's box: GIoU 1.
    judged = EnsembleOutput(torch.zeros(1, 2, 3), torch.zeros(1, 2, 2, 4))
    classification, refinement = region_losses(judged, hand_rois(), torch.ones(1, 2, dtype=torch.bool))
    assert classification.item() == pytest.approx(math.log(3))
    assert refinement.item() == pytest.approx(0.0, abs=1e-6)


def test_a_class_is_to_get_the_overlap_of_the_refined_box_and_background_the_rest() -> None:
    # The refined boxes of two members overlap their object by 1 and by 1/2; torch's cross entropy takes such targets.
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 3, generator=generator)
    offsets = torch.zeros(2, 2, 2, 4)
    offsets[1, 0, 0, 2] = math.log(2) / OFFSET_SCALE  # twice as wide about the same centre
    everything = torch.ones(2, 2, dtype=torch.bool)
    classification, _ = region_losses(EnsembleOutput(logits, offsets), hand_rois(), everything)
    wanted = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(classification, cross_entropy(logits.flatten(0, 1), wanted.flatten(0, 1)))


def test_labels_are_hard_without_refinement() -> None:
    logits = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    everything = torch.ones(2, 2, dtype=torch.bool)
    classification, refinement = region_losses(EnsembleOutput(logits, None), hand_rois(), everything)
    torch.testing.assert_close(classification, cross_entropy(logits.flatten(0, 1), torch.tensor([0, 2, 0, 2])))
    assert refinement.item() == 0


def test_the_fit_of_a_box_gets_no_gradient_from_the_classification() -> None:
    offsets = torch.full((1, 2, 2, 4), 0.5, requires_grad=True)
    judged = EnsembleOutput(torch.zeros(1, 2, 3, requires_grad=True), offsets)
    region_losses(judged, hand_rois(), torch.ones(1, 2, dtype=torch.bool))[0].backward()
    assert offsets.grad is None


def test_a_member_learns_from_its_own_samples_only() -> None:
    logits = torch.zeros(2, 2, 3, requires_grad=True)
    judged = EnsembleOutput(logits, None)
    samples = torch.tensor([[True, False], [True, True]])
    region_losses(judged, hand_rois(), samples)[0].backward()
    assert logits.grad is not None
    assert logits.grad[0, 1].abs().sum() == 0
    assert (logits.grad.abs().sum(dim=2) > 0).tolist() == [[True, False], [True, True]]

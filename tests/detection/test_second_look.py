"""The second look: where regions move, what they are there, and what becomes of both looks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configs.load import config_from_dict
from configs.schema import Config
from configs.unused import unused_values
from detection import build_training
from detection.build import build_network, load_detector
from detection.chance import StepChance
from detection.checkpoint import ModelHeader, save_model
from detection.ensemble import EnsembleOutput, mean_offsets, mean_probabilities
from detection.network import DetectionNetwork
from detection.postprocess import OFFSET_SCALE, refine_boxes
from detection.roi_sampling import SampledRois
from detection.second_look import follow_rois, label_anew, move_regions
from proposals.structures import Proposals
from tests.detection.lively import make_lively_network
from tests.detection.tiny import CLASSES, target_of, tiny_config, tiny_network

NONE, CAT, DOG, OWL = 3, 0, 1, 2
BOXES = torch.tensor([[10.0, 10.0, 50.0, 50.0], [20.0, 30.0, 60.0, 90.0]])


def test_a_region_moves_as_its_most_probable_class_says_even_where_background_is_more_probable() -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.0, 0.7], [0.5, 0.3, 0.1, 0.1]])
    offsets = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    moved = move_regions(BOXES, probabilities, offsets, (96, 96))
    expected = [refine_boxes(BOXES[row], offsets[row, label], (96, 96)) for row, label in enumerate((DOG, CAT))]
    torch.testing.assert_close(moved, torch.stack(expected))


def test_a_region_that_would_leave_the_image_stays() -> None:
    offsets = torch.zeros(2, 3, 4)
    offsets[0, :, 0] = -10 / OFFSET_SCALE  # ten widths to the left
    moved = move_regions(BOXES, torch.full((2, 4), 0.25), offsets, (96, 96))
    torch.testing.assert_close(moved, BOXES)


def test_no_regions() -> None:
    nothing = move_regions(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 3, 4), (96, 96))
    assert nothing.shape == (0, 4)
    rois = SampledRois(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    labelled = label_anew(rois, nothing, target_of([[0, 0, 9, 9]], [CAT]), num_classes=3, foreground_iou=0.6)
    assert labelled.boxes.shape == labelled.gt_boxes.shape == (0, 4)


def rois_at_first() -> SampledRois:
    return SampledRois(BOXES, torch.tensor([DOG, NONE]), torch.tensor([[12.0, 10.0, 52.0, 50.0], [20, 30, 60, 90]]))


def test_regions_that_have_moved_get_the_labels_of_their_new_places() -> None:
    # The first leaves the dog (overlap 20 / 60 of it), the second comes upon the owl.
    target = target_of([[12, 10, 52, 50], [40, 40, 80, 80]], [DOG, OWL])
    moved = torch.tensor([[32.0, 10.0, 72.0, 50.0], [42.0, 40.0, 80.0, 80.0]])
    labelled = label_anew(rois_at_first(), moved, target, num_classes=3, foreground_iou=0.6)
    assert labelled.labels.tolist() == [NONE, OWL]
    torch.testing.assert_close(labelled.boxes, moved)
    torch.testing.assert_close(labelled.gt_boxes, torch.stack([moved[0], target.boxes[1]]))


def test_the_second_look_asks_for_more_overlap_and_follows_image_by_image() -> None:
    """Regions that overlap a cat by 0.65 and 0.55, and on another image an owl by 0.55, and stay where they are."""
    targets = [target_of([[0, 0, 40, 40]], [CAT]), target_of([[40, 40, 80, 80]], [OWL])]
    boxes = [torch.tensor([[0.0, 0.0, 40.0, 26.0], [0.0, 0.0, 40.0, 22.0]]), torch.tensor([[40.0, 40.0, 80.0, 62.0]])]
    labels = [torch.tensor([CAT, CAT]), torch.tensor([OWL])]
    rois = [SampledRois(b, n, t.boxes.expand(len(b), 4)) for b, n, t in zip(boxes, labels, targets, strict=True)]
    still = EnsembleOutput(torch.zeros(2, 3, 4), torch.zeros(2, 3, 3, 4))
    followed = follow_rois(rois, still, targets, num_classes=3, foreground_iou=0.5)
    assert [each.labels.tolist() for each in followed] == [[CAT, NONE], [NONE]]
    looser = follow_rois(rois, still, targets, num_classes=3, foreground_iou=0.4)
    assert [each.labels.tolist() for each in looser] == [[CAT, CAT], [OWL]]
    for each, own in zip(followed, boxes, strict=True):
        torch.testing.assert_close(each.boxes, own)


def test_a_region_upon_an_ignored_object_stays_what_it_was() -> None:
    target = target_of([[12, 10, 52, 50], [40, 40, 80, 80]], [DOG, OWL], [False, True])
    moved = torch.tensor([[42.0, 42.0, 78.0, 78.0], [42.0, 40.0, 80.0, 80.0]])
    labelled, first = label_anew(rois_at_first(), moved, target, num_classes=3, foreground_iou=0.6), rois_at_first()
    assert torch.equal(labelled.boxes, first.boxes)
    assert torch.equal(labelled.labels, first.labels)
    assert torch.equal(labelled.gt_boxes, first.gt_boxes)


def test_an_image_without_objects_has_background_only() -> None:
    labelled = label_anew(rois_at_first(), BOXES + 3, target_of([], []), num_classes=3, foreground_iou=0.6)
    assert labelled.labels.tolist() == [NONE, NONE]
    assert torch.equal(labelled.gt_boxes, labelled.boxes)


@torch.inference_mode()
def test_all_members_of_both_looks_are_averaged_and_the_second_refines() -> None:
    network = make_lively_network()
    assert network.second_look is not None
    pyramid = network.extract(torch.randint(0, 256, (1, 3, 96, 96), generator=torch.Generator().manual_seed(0)).byte())
    proposals = Proposals(BOXES, torch.tensor([0.9, 0.4]), (96, 96))
    judged = network.judge_image(pyramid, proposals)
    first = network.classifier(pyramid, [BOXES])
    moved = move_regions(BOXES, mean_probabilities(first.logits), mean_offsets(first.offsets), (96, 96))
    second = network.second_look(pyramid, [moved])
    both = (mean_probabilities(first.logits) + mean_probabilities(second.logits)) / 2
    assert torch.equal(judged.proposals.boxes, BOXES)
    assert (moved - BOXES).abs().amax(dim=1).min() > 0.1
    torch.testing.assert_close(judged.regions.boxes, moved)
    torch.testing.assert_close(judged.regions.scores, proposals.scores)
    torch.testing.assert_close(judged.probabilities, both)
    torch.testing.assert_close(judged.offsets, mean_offsets(second.offsets))


def losses_of(network: DetectionNetwork) -> dict[str, torch.Tensor]:
    images = torch.randint(0, 256, (1, 3, 96, 96), generator=torch.Generator().manual_seed(0)).byte()
    objective = build_training.build_objective(tiny_config(), network).train()
    answer: dict[str, torch.Tensor] = objective(images, [target_of([[10, 10, 50, 50]], [DOG])], None, StepChance(0, 0))
    return answer


def test_both_looks_learn_and_the_first_as_if_alone() -> None:
    torch.manual_seed(0)
    network = make_lively_network()
    both = losses_of(network)
    second = network.second_look
    network.second_look = None
    alone = losses_of(network)
    for name in ("region_class", "region_box"):
        assert both[name].item() > alone[name].item() > 0
    for name in ("proposal_objectness", "proposal_box"):
        torch.testing.assert_close(both[name], alone[name])
    assert second is not None
    gradients = torch.autograd.grad(both["region_class"] + both["region_box"], list(second.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_the_first_look_gets_no_gradient_from_where_the_second_looks() -> None:
    network = make_lively_network()
    both = losses_of(network)
    weight = network.classifier.heads.offset_weight
    assert weight is not None
    (gradient,) = torch.autograd.grad(both["region_box"], weight, retain_graph=True)
    network.second_look = None
    (alone,) = torch.autograd.grad(losses_of(network)["region_box"], weight)
    torch.testing.assert_close(gradient, alone)


def test_without_refinement_there_is_one_look_and_the_value_is_told_to_be_idle() -> None:
    document = tiny_config().model_dump(mode="json")
    document["classifier"]["box_regression"] = False
    config = config_from_dict(document, schema=Config)
    assert tiny_network(config).second_look is None
    told = unused_values(config, ["classifier.second_look"])
    assert told == ["classifier.second_look has no effect here: it is for classifier.box_regression true"]
    assert unused_values(tiny_config(), ["classifier.second_look"]) == []


@pytest.mark.parametrize("names_it", [False, True])
def test_a_model_of_before_there_was_a_second_look_looks_once(tmp_path: Path, names_it: bool) -> None:
    document = tiny_config().model_dump(mode="json")
    document["classifier"]["second_look"] = False
    weights = build_network(config_from_dict(document, schema=Config), len(CLASSES)).state_dict()
    if not names_it:
        del document["classifier"]["second_look"]
    save_model(tmp_path / "model.safetensors", weights, ModelHeader(document, CLASSES, (1, 2, 3)))
    network = load_detector(tmp_path / "model.safetensors", device="cpu").network
    assert isinstance(network, DetectionNetwork)
    assert network.second_look is None

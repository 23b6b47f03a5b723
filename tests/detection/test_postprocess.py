"""From judged regions to detections, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_iou

from detection.matrix_nms import decay_scores
from detection.postprocess import OFFSET_SCALE, DetectionSettings, refine_boxes, score_regions, select_detections
from detection.structures import Detections
from proposals.box_coder import encode
from proposals.structures import Proposals


def proposals_of(*boxes: list[float], scores: list[float]) -> Proposals:
    return Proposals(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(scores), (100, 200))


SETTINGS = DetectionSettings(
    score_threshold=0.1, nms_sigma=None, nms_iou_threshold=0.5, max_detections=3, objectness_power=0.5
)
SOFT = replace(SETTINGS, nms_sigma=0.3)


def select(proposals: Proposals, probabilities: torch.Tensor, offsets: torch.Tensor | None = None) -> Detections:
    return select_detections(proposals, probabilities, offsets, SETTINGS)


def test_score_is_probability_times_root_of_objectness() -> None:
    found = select(proposals_of([0, 0, 50, 50], scores=[0.25]), torch.tensor([[0.6, 0.3, 0.1]]))
    # 0.6 * sqrt(0.25) = 0.30 for class 0; 0.3 * 0.5 = 0.15 for class 1; both over 0.1.
    torch.testing.assert_close(found.scores, torch.tensor([0.3, 0.15]))
    assert found.labels.tolist() == [0, 1]
    assert found.image_size_hw == (100, 200)


def test_background_is_never_a_detection() -> None:
    assert len(select(proposals_of([0, 0, 50, 50], scores=[1.0]), torch.tensor([[0.05, 0.05, 0.9]]))) == 0


def test_suppression_is_per_class() -> None:
    proposals = proposals_of([0, 0, 50, 50], [0, 0, 50, 48], [0, 0, 50, 46], scores=[1.0, 1.0, 1.0])
    probabilities = torch.tensor([[0.9, 0.0, 0.1], [0.8, 0.0, 0.2], [0.0, 0.7, 0.3]])
    found = select(proposals, probabilities)
    assert found.labels.tolist() == [0, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7]))


def test_refinement_is_per_class_and_clipped() -> None:
    proposals = proposals_of([10, 10, 50, 50], scores=[1.0])
    wanted = torch.tensor([[12.0, 14.0, 60.0, 40.0], [150.0, 50.0, 260.0, 90.0]])
    offsets = (encode(wanted, proposals.boxes.expand(2, 4)) / OFFSET_SCALE)[None]
    found = select(proposals, torch.tensor([[0.5, 0.4, 0.1]]), offsets)
    torch.testing.assert_close(found.boxes[0], wanted[0])
    torch.testing.assert_close(found.boxes[1], torch.tensor([150.0, 50.0, 200.0, 90.0]))  # 260 lies outside


def test_all_regions_at_once_are_scored_and_refined_as_the_detections_are() -> None:
    """Far apart and above the threshold, so that every region of every class is a detection: bit for bit."""
    proposals = proposals_of([10, 10, 50, 50], [120, 20, 180, 70], scores=[1.0, 0.81])
    probabilities = torch.tensor([[0.5, 0.4, 0.1], [0.3, 0.6, 0.1]])
    offsets = torch.linspace(-1.0, 1.0, 16).reshape(2, 2, 4)
    scores = score_regions(proposals, probabilities, SETTINGS)
    boxes = refine_boxes(proposals.boxes[:, None].expand(-1, 2, -1), offsets, proposals.image_size_hw)
    found = select_detections(proposals, probabilities, offsets, replace(SETTINGS, max_detections=4))
    assert len(found) == 4
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        (row,) = (scores[:, label] == score).nonzero(as_tuple=True)
        assert torch.equal(boxes[row, label][0], box)


def test_without_refinement_boxes_stay() -> None:
    boxes = torch.tensor([[-5.0, 0.0, 250.0, 20.0]])
    assert refine_boxes(boxes, None, (100, 200)) is boxes


def test_at_most_max_detections_best_first() -> None:
    boxes = [[x * 20.0, 0.0, x * 20.0 + 10, 10.0] for x in range(5)]
    probabilities = torch.tensor([[p, 1 - p] for p in (0.2, 0.9, 0.5, 0.3, 0.7)])
    found = select(proposals_of(*boxes, scores=[1.0] * 5), probabilities)
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.5]))


def test_no_proposals() -> None:
    found = select(proposals_of(scores=[]), torch.zeros(0, 3), torch.zeros(0, 2, 4))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_a_repeat_loses_score_by_its_overlap_and_others_do_not() -> None:
    """The better box of a class suppresses, not one of another class, nor one far away."""
    proposals = proposals_of([0, 0, 40, 40], [0, 0, 40, 30], [0, 0, 40, 39], [100, 0, 140, 40], scores=[1.0] * 4)
    probabilities = torch.tensor([[0.9, 0.0, 0.1], [0.8, 0.0, 0.2], [0.0, 0.7, 0.3], [0.6, 0.0, 0.4]])
    found = select_detections(proposals, probabilities, None, replace(SOFT, max_detections=4))
    repeat = 0.8 * math.exp(-(0.75**2) / 0.3)  # IoU 1200 / 1600
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.6, repeat]))
    assert found.labels.tolist() == [0, 1, 0, 0]
    assert found.boxes[3].tolist() == [0, 0, 40, 30]


def test_what_falls_below_the_threshold_is_dropped_and_few_are_kept() -> None:
    proposals = proposals_of([0, 0, 40, 40], [0, 0, 40, 39], scores=[1.0, 1.0])
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    assert len(select_detections(proposals, probabilities, None, SOFT)) == 1
    boxes = [[x * 20.0, 0.0, x * 20.0 + 10, 10.0] for x in range(5)]
    found = select_detections(
        proposals_of(*boxes, scores=[1.0] * 5),
        torch.tensor([[p, 1 - p] for p in (0.2, 0.9, 0.5, 0.3, 0.7)]),
        None,
        SOFT,
    )
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.5]))
    assert len(select_detections(proposals_of(scores=[]), torch.zeros(0, 3), torch.zeros(0, 2, 4), SOFT)) == 0


def naive_decay(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, sigma: float) -> list[float]:
    """Equation 4 of SOLOv2, pair by pair."""
    iou = box_iou(boxes, boxes)

    def worst(i: int) -> float:
        return max([float(iou[k, i]) for k in range(i) if labels[k] == labels[i]], default=0.0)

    def falls(i: int, j: int) -> float:
        return math.exp(-(float(iou[i, j]) ** 2) / sigma) / math.exp(-(worst(i) ** 2) / sigma)

    found = []
    for j in range(len(boxes)):
        others = [falls(i, j) for i in range(j) if labels[i] == labels[j] and iou[i, j] > 0]
        found.append(float(scores[j]) * min([1.0, *others]))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_matrix_nms_is_that_of_the_paper(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners, sizes = torch.rand(2, 30, 2, generator=generator) * torch.tensor([[[60.0]], [[50.0]]])
    boxes = torch.cat([corners, corners + sizes], dim=1)
    scores = torch.rand(30, generator=generator).sort(descending=True).values
    labels = torch.randint(0, 2, (30,), generator=generator)
    lowered = decay_scores(boxes, scores, labels, 0.3)
    torch.testing.assert_close(lowered, torch.tensor(naive_decay(boxes, scores, labels, 0.3)))
    both = decay_scores(boxes.expand(2, -1, -1), scores.expand(2, -1), labels.expand(2, -1), 0.3)
    torch.testing.assert_close(both, lowered.expand(2, -1))

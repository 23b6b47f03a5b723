"""From judged regions to detections, by hand."""

from __future__ import annotations

from dataclasses import replace

import torch

from detection.postprocess import OFFSET_SCALE, DetectionSettings, refine_boxes, score_regions, select_detections
from detection.structures import Detections
from proposals.box_coder import encode
from proposals.structures import Proposals


def proposals_of(*boxes: list[float], scores: list[float]) -> Proposals:
    return Proposals(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(scores), (100, 200))


SETTINGS = DetectionSettings(score_threshold=0.1, nms_iou_threshold=0.5, max_detections=3, objectness_power=0.5)


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

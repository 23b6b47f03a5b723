"""Weighted boxes fusion: one list of detections out of several (Solovyev et al. 2019, 1910.13302).

One step differs from the paper: a list kept two boxes because it takes them for two objects, so a cluster takes one box
of a list at most. Fusing a list with itself therefore changes nothing, however its repeats were suppressed.
Legend: N lists, D boxes of one class in all lists, K clusters of boxes, T <= N boxes of a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from detection.structures import Detections

IOU_THRESHOLD = 0.55
"""Overlap above which a box belongs to a cluster: the paper's choice."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def fuse_detections(lists: Sequence[Detections], *, iou_threshold: float = IOU_THRESHOLD) -> Detections:
    """Averages the boxes of each object instead of choosing one of them.

    Per class, boxes are taken best first. Of the clusters without a box of its list, a box joins the one whose fused
    box it overlaps most, if by more than the threshold, else it starts a cluster. The fused box is the mean of the T
    boxes weighted by their scores; its score is their sum / N: what few of the lists hold is less sure.

    The order of the lists and of equal scores plays no part. One list comes back as it is.

    Args:
        lists: N of the same image, on the CPU; each may be empty.
        iou_threshold: Overlap of one object's boxes.

    Returns:
        The fused detections, best first.

    Raises:
        ValueError: If there is no list, or they are of images of different sizes.
    """
    sizes = sorted({found.image_size_hw for found in lists})
    if len(sizes) != 1:
        raise ValueError(f"expected detections of one image, got sizes {sizes}")
    boxes = torch.cat([found.boxes for found in lists]).double().numpy()
    scores = torch.cat([found.scores for found in lists]).double().numpy()
    labels = torch.cat([found.labels for found in lists]).numpy()
    sources = np.repeat(np.arange(len(lists)), [len(found) for found in lists])
    best_first = _order(boxes, scores)
    boxes, scores, labels, sources = (each[best_first] for each in (boxes, scores, labels, sources))
    all_boxes, all_scores, all_labels = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for label in np.unique(labels):
        rows = labels == label
        fused, totals = _cluster(boxes[rows], scores[rows], sources[rows], iou_threshold)
        all_boxes.append(fused)
        all_scores.append(totals / len(lists))
        all_labels.append(np.full(len(fused), label))
    boxes, scores = np.concatenate(all_boxes), np.concatenate(all_scores)
    labels = np.concatenate(all_labels)
    order = _order(boxes, scores)
    return Detections(
        torch.from_numpy(boxes[order]).float(),
        torch.from_numpy(scores[order]).float(),
        torch.from_numpy(labels[order]),
        sizes[0],
    )


def _order(boxes: Floats, scores: Floats) -> Ints:
    """Rows by score, best first; equal scores by their boxes, so that it does not matter who said it first."""
    return np.lexsort((*boxes.T[::-1], -scores))


def _cluster(boxes: Floats, scores: Floats, sources: Ints, iou_threshold: float) -> tuple[Floats, Floats]:
    """Clusters (D, 4) boxes of one class, best first -> K fused boxes (K, 4), sums (K,) of their scores."""
    fused, totals = np.zeros_like(boxes), np.zeros_like(scores)
    holds = np.zeros((len(boxes), sources.max(initial=-1) + 1), dtype=bool)  # whether cluster k has a box of list n
    used = 0
    for box, score, source in zip(boxes, scores, sources, strict=True):
        overlaps = np.where(holds[:used, source], -1.0, _iou(box, fused[:used]))
        place = int(overlaps.argmax()) if used else 0
        if used == 0 or overlaps[place] <= iou_threshold:
            place, used = used, used + 1
            fused[place] = box
        holds[place, source] = True
        totals[place] += score
        if score > 0:  # a score of 0 has no weight, and nothing can be divided by a sum of 0
            fused[place] += (box - fused[place]) * (score / totals[place])
    return fused[:used], totals[:used]


def _iou(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box (4,) with K others (K, 4) -> (K,)."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    intersection = size.clip(min=0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + areas - intersection
    return intersection / np.maximum(union, np.finfo(np.float64).tiny)

"""The numbers of a split's proposals: from the overlaps in each image to what is told of all.

Legend: G objects of one image that are not ignored, P proposals, K priors, N numbers of proposals, C classes.
Boxes are xyxy in pixels of the original image. Ignored objects (crowd, difficult) are in no number and no denominator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np

from detection.data.records import ImageRecord
from detection.evaluation.averages import mean_of_present
from detection.evaluation.class_boxes import Floats, Ints, pairwise_iou
from detection.evaluation.proposal_curves import (
    ALL,
    COUNTS,
    IOU_THRESHOLDS,
    average_best_overlap,
    average_recall,
    band_masks,
    best_of_first,
    recall_at,
)
from proposals.structures import Proposals

COVERED_IOU = 0.5
"""Overlap from which an object is covered, for coverage and for what counts as missed."""

MEASURES = {
    "recall": "share of the objects that any of the first N proposals of their image overlaps with that IoU or more; "
    "one proposal may cover several objects; where an image has fewer proposals, all of them count",
    "AR": "mean of the recall over IoU .50:.05:.95; ARs, ARm, ARl: of small, medium and large objects (COCO's bands)",
    "MABO": "mean over the classes of the mean best IoU of their objects (Uijlings et al. 2013)",
    "coverage": "recall at IoU 0.5 with all proposals, beside the mean number of boxes of an image",
    "priors": "the same with every prior as a box where it lies, before any offset",
    "ignored": "crowd and difficult objects are left out everywhere",
}


@dataclass(frozen=True)
class ImageCover:
    """How the proposals of one image cover its objects.

    Attributes:
        record: The image.
        rows: (G,) rows of the record's boxes that are not ignored.
        best_iou: (G, N + 1) best overlap with the first ``COUNTS`` proposals; last column: with all.
        nearest: (G, 4) the proposal that overlaps most; NaN where none overlaps at all.
        num_proposals: P.
        seconds: What making them took.
        prior_iou: (G,) best overlap with a prior, or None if there are no priors.
        num_priors: K, or 0.
    """

    record: ImageRecord
    rows: Ints
    best_iou: Floats
    nearest: Floats
    num_proposals: int
    seconds: float
    prior_iou: Floats | None = None
    num_priors: int = 0


@dataclass(frozen=True)
class CoverNumbers:
    """How well one set of boxes an image covers the objects; None where there is no object.

    Attributes:
        boxes_per_image: Mean number of boxes that an image really had; None without images.
        recall: At ``IOU_THRESHOLDS``.
        average_recall: ``all``, ``small``, ``medium``, ``large`` -> AR.
        mabo: Mean average best overlap.
    """

    boxes_per_image: float | None
    recall: tuple[float | None, ...]
    average_recall: Mapping[str, float | None]
    mabo: float | None

    def recall_of(self, iou_threshold: float) -> float | None:
        """Recall at one of ``IOU_THRESHOLDS``."""
        return self.recall[IOU_THRESHOLDS.index(iou_threshold)]

    def to_metrics(self) -> dict[str, Any]:
        """Numbers and None only."""
        bands = {f"AR{name[0] if name != 'all' else ''}": value for name, value in self.average_recall.items()}
        recall = {f"{threshold:.2f}": value for threshold, value in zip(IOU_THRESHOLDS, self.recall, strict=True)}
        return {"boxes_per_image": self.boxes_per_image, "recall": recall, **bands, "MABO": self.mabo}


@dataclass(frozen=True)
class ProposalEvaluation:
    """The numbers of one split.

    Attributes:
        by_count: Number of proposals -> numbers.
        with_all: With every proposal.
        abo: Class name -> average best overlap with every proposal.
        priors: With every prior as a box, or None if the proposals come without priors.
        num_images: Images that could be read, those without objects included.
        num_objects: Objects that count, by COCO size and ``all``.
        num_ignored: Objects left out.
        mean_seconds: Time an image; None without images.
        median_seconds: The same.
        failures: File name -> why the image could not be read; it enters no number.
    """

    by_count: Mapping[int, CoverNumbers]
    with_all: CoverNumbers
    abo: Mapping[str, float | None]
    priors: CoverNumbers | None
    num_images: int
    num_objects: Mapping[str, int]
    num_ignored: int
    mean_seconds: float | None
    median_seconds: float | None
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def coverage(self) -> float | None:
        """Recall at IoU 0.5 with all proposals: the paper's coverage (1409.4842, section 8)."""
        return self.with_all.recall_of(COVERED_IOU)

    def to_metrics(self) -> dict[str, Any]:
        """The contents of ``proposals.json``: numbers, strings and None only, never NaN."""
        return {
            "num_images": self.num_images,
            "num_objects": dict(self.num_objects),
            "num_ignored": self.num_ignored,
            "coverage": {"recall": self.coverage, "boxes_per_image": self.with_all.boxes_per_image},
            "proposals": {
                **{str(count): numbers.to_metrics() for count, numbers in self.by_count.items()},
                "all": self.with_all.to_metrics(),
            },
            "ABO": dict(self.abo),
            "priors": None if self.priors is None else self.priors.to_metrics(),
            "seconds_per_image": {"mean": self.mean_seconds, "median": self.median_seconds},
            "failed_images": dict(self.failures),
            "measures": MEASURES,
        }


def cover_image(
    record: ImageRecord, proposals: Proposals, *, seconds: float, priors: Floats | None = None
) -> ImageCover:
    """Overlaps of one image's objects with its proposals, and with its priors.

    Args:
        record: The image and its objects.
        proposals: Best first, in pixels of the original image.
        seconds: What making them took.
        priors: (K, 4) in the same pixels, not clipped to the image; None if there are none.
    """
    rows = np.flatnonzero(~record.ignore)
    gt_boxes = record.boxes[rows]
    boxes = proposals.boxes.cpu().numpy().astype(np.float64)
    overlaps = pairwise_iou(boxes, gt_boxes)
    return ImageCover(
        record=record,
        rows=rows,
        best_iou=best_of_first(overlaps, (*COUNTS, ALL)),
        nearest=_nearest(boxes, overlaps),
        num_proposals=len(boxes),
        seconds=seconds,
        prior_iou=None if priors is None else best_of_first(pairwise_iou(priors, gt_boxes), (ALL,))[:, 0],
        num_priors=0 if priors is None else len(priors),
    )


def _nearest(boxes: Floats, overlaps: Floats) -> Floats:
    """(G, 4) the box that overlaps each object most, the better one of equals; NaN where none does."""
    nearest = np.full((overlaps.shape[1], 4), np.nan)
    if len(boxes):
        touched = overlaps.max(axis=0) > 0
        nearest[touched] = boxes[overlaps.argmax(axis=0)[touched]]
    return nearest


def summarize_covers(
    covers: Sequence[ImageCover], class_names: Sequence[str], *, failures: Mapping[str, str] | None = None
) -> ProposalEvaluation:
    """Computes every number of a split.

    Args:
        covers: The images that could be read, of one source: all with priors or all without.
        class_names: C names; the labels of the records index into them.
        failures: File name -> reason, for the others.

    Returns:
        The numbers. Objects without any proposal give 0; no objects or no images give None.
    """
    labels = _joined([cover.record.labels[cover.rows] for cover in covers]).astype(np.int64)
    areas = _joined([cover.record.area[cover.rows] for cover in covers])
    best_iou = np.concatenate([np.zeros((0, len(COUNTS) + 1)), *(cover.best_iou for cover in covers)])
    numbers = [
        _numbers(best, labels, areas, boxes=[min(count, cover.num_proposals) for cover in covers])
        for count, best in zip((*COUNTS, ALL), best_iou.T, strict=True)
    ]
    prior_iou = [cover.prior_iou for cover in covers if cover.prior_iou is not None]
    with_priors = (
        _numbers(_joined(prior_iou), labels, areas, boxes=[c.num_priors for c in covers]) if prior_iou else None
    )
    seconds = [cover.seconds for cover in covers]
    return ProposalEvaluation(
        by_count=dict(zip(COUNTS, numbers, strict=False)),
        with_all=numbers[-1],
        abo=dict(zip(class_names, average_best_overlap(best_iou[:, -1], labels, len(class_names)), strict=True)),
        priors=with_priors,
        num_images=len(covers),
        num_objects={"all": len(labels), **{band: int(mask.sum()) for band, mask in band_masks(areas).items()}},
        num_ignored=sum(int(cover.record.ignore.sum()) for cover in covers),
        mean_seconds=fmean(seconds) if seconds else None,
        median_seconds=median(seconds) if seconds else None,
        failures=failures or {},
    )


def _numbers(best_iou: Floats, labels: Ints, areas: Floats, *, boxes: Sequence[int]) -> CoverNumbers:
    """Numbers of O objects' best overlaps with some boxes of their images; ``boxes`` has their number per image."""
    bands = {band: average_recall(best_iou[mask]) for band, mask in band_masks(areas).items()}
    abo = average_best_overlap(best_iou, labels, int(labels.max(initial=-1)) + 1)
    return CoverNumbers(
        boxes_per_image=fmean(boxes) if boxes else None,
        recall=recall_at(best_iou),
        average_recall={"all": average_recall(best_iou), **bands},
        mabo=mean_of_present(abo),
    )


def _joined(columns: Sequence[np.ndarray[Any, Any]]) -> Floats:
    """The rows of all images as float64; no images give no rows."""
    return np.concatenate([np.zeros(0), *columns]).astype(np.float64)


def missed_objects(covers: Sequence[ImageCover]) -> Iterator[tuple[ImageCover, int]]:
    """Yields each object that no proposal covers at IoU 0.5: its image and its place among that image's G objects."""
    for cover in covers:
        for place in np.flatnonzero(cover.best_iou[:, -1] < COVERED_IOU).tolist():
            yield cover, place

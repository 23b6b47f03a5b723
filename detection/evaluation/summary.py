"""Every number of an evaluation, in one record: COCO, VOC 2007, VOC 2012, ILSVRC, and each class for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from detection.data.records import DetectionData
from detection.evaluation.averages import mean_of_present
from detection.evaluation.class_boxes import SplitBoxes, pack_split
from detection.evaluation.coco_map import (
    CocoMap,
    CocoSettings,
    coco_map_of,
    count_per_band,
    crowded_images,
    overfull_images,
)
from detection.evaluation.operating_point import OperatingPoint, best_f1, precise_point
from detection.evaluation.reliability import NUM_BINS, JudgedClass, judge, reliability_metrics
from detection.evaluation.voc_map import (
    PrecisionRecall,
    average_precision_voc07,
    average_precision_voc12,
    match_ilsvrc,
    match_voc,
    precision_recall,
    spare_ignored,
)
from detection.structures import Detections

PROTOCOLS = {
    "coco": CocoSettings().protocol,
    "voc07": "VOC 2007 devkit, IoU 0.5, 11 recall points, difficult objects left out",
    "voc12": "VOC 2012 devkit, IoU 0.5, area under the monotone curve, difficult objects left out",
    "ilsvrc": "ILSVRC detection devkit, IoU min(0.5, wh/((w+10)(h+10))), area under the monotone curve",
    "score_threshold": "best F1 at IoU 0.5, VOC matching; detections with this score or more are kept",
    "calibration": f"D-ECE, {NUM_BINS} bins of equal width, detections of every score, IoU 0.5, VOC matching",
    "errors": "TIDE, IoU 0.5 and 0.1, COCO matching; AP50 that is won if only this kind of error is mended",
    "confusion": "every class at its threshold of the best F1, IoU 0.5, matched by score whatever the class",
}
"""How each family of numbers is computed, for the reader of a report; ``Evaluation.protocols`` knows the settings."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What may be chosen about an evaluation.

    Attributes:
        coco: Bands of size and number of detections of the COCO numbers.
        precision: Wanted at the second threshold that each class gets, besides that of the best F1.
        detector_limit: The most that the detector gives for one image, to warn of images that hold more objects.
    """

    coco: CocoSettings = field(default_factory=CocoSettings)
    precision: float = 0.9
    detector_limit: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.precision <= 1:
            raise ValueError(f"precision is {self.precision}, expected 0 to 1")


@dataclass(frozen=True)
class ClassEvaluation:
    """The numbers of one class; an average precision is None where the class has no object to be found.

    Attributes:
        ap: COCO AP, mean over IoU .50:.05:.95.
        ap50: COCO AP at IoU 0.5.
        voc07: VOC 2007 AP.
        voc12: VOC 2012 AP.
        ilsvrc: ILSVRC AP.
        num_gt: Objects to be found (ignored ones left out).
        num_detections: Detections of any score.
        ap_by_size: COCO AP of the objects of each band of size.
        num_gt_by_size: Objects to be found in each band.
        best: Where F1 is highest, None if no detection is right.
        precise: Where the wanted precision is reached with the greatest recall, None if it is not.
        curve: Precision and recall at IoU 0.5, by ``match_for_use``.
        judged: The counted detections, each right or wrong by the same matching.
    """

    ap: float | None
    ap50: float | None
    voc07: float | None
    voc12: float | None
    ilsvrc: float | None
    num_gt: int
    num_detections: int
    ap_by_size: Mapping[str, float | None]
    num_gt_by_size: Mapping[str, int]
    best: OperatingPoint | None
    precise: OperatingPoint | None
    curve: PrecisionRecall
    judged: JudgedClass

    def to_metrics(self) -> dict[str, Any]:
        """The entry of this class in ``metrics.json``."""
        return {
            "AP": self.ap,
            "AP50": self.ap50,
            "voc07": self.voc07,
            "voc12": self.voc12,
            "ilsvrc": self.ilsvrc,
            "num_gt": self.num_gt,
            "num_detections": self.num_detections,
            "score_threshold": self.best.score_threshold if self.best else None,
            "best_f1": self.best.f1 if self.best else None,
            "precision": self.best.precision if self.best else None,
            "recall": self.best.recall if self.best else None,
            "at_precision": asdict(self.precise) if self.precise else None,
            "AP_by_size": dict(self.ap_by_size),
            "num_gt_by_size": dict(self.num_gt_by_size),
        }


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one split; None where a number does not exist.

    Attributes:
        settings: How it was done.
        coco: The COCO numbers by name; twelve with the usual settings.
        voc07: Mean over the classes that are present.
        voc12: The same for VOC 2012.
        ilsvrc: The same for ILSVRC.
        per_class: Class name -> its numbers, in label order.
        num_gt_per_band: Objects to be found in each band of size.
        num_images: Images of the split, those without objects included.
        warnings: What a reader must know before trusting a number.
        proposals: ``recall@K`` -> recall of the proposals; empty if none were measured.
        failures: File name -> why the image could not be read; such an image counts as one without detections.
        num_unjudged: Pairs of an image and a class that the ILSVRC numbers leave out.
    """

    settings: EvaluationSettings
    coco: Mapping[str, float | None]
    voc07: float | None
    voc12: float | None
    ilsvrc: float | None
    per_class: Mapping[str, ClassEvaluation]
    num_gt_per_band: Mapping[str, int]
    num_images: int
    warnings: tuple[str, ...]
    proposals: Mapping[str, float | None] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    num_unjudged: int = 0

    @property
    def num_gt(self) -> int:
        """Objects to be found."""
        return sum(each.num_gt for each in self.per_class.values())

    @property
    def num_detections(self) -> int:
        """Detections of any score and class."""
        return sum(each.num_detections for each in self.per_class.values())

    @property
    def score_thresholds(self) -> dict[str, float | None]:
        """Class name -> score threshold of the best F1, None if no detection is right."""
        return {name: each.best.score_threshold if each.best else None for name, each in self.per_class.items()}

    @property
    def protocols(self) -> dict[str, str]:
        """How each family of numbers was computed."""
        bands = "; ".join(f"{name} {extent}" for name, extent in self.settings.coco.bands.extents().items())
        pairs = f"with its blacklist of {self.num_unjudged} pairs of image and class"
        blacklist = pairs if self.num_unjudged else "no blacklist of images"
        precise = f"precision {self.settings.precision:g} or more at IoU 0.5, VOC matching"
        return PROTOCOLS | {
            "coco": self.settings.coco.protocol,
            "ilsvrc": f"{PROTOCOLS['ilsvrc']}, {blacklist}",
            "sizes": f"bands of object size: {bands}; an object on a bound is in both",
            "at_precision": f"greatest recall with {precise}",
        }

    def to_metrics(self) -> dict[str, Any]:
        """The contents of ``metrics.json``: numbers, strings and None only, never NaN or -1."""
        return {
            "coco": dict(self.coco),
            "voc07": {"mAP": self.voc07},
            "voc12": {"mAP": self.voc12},
            "ilsvrc": {"mAP": self.ilsvrc},
            "per_class": {name: each.to_metrics() for name, each in self.per_class.items()},
            "calibration": reliability_metrics({name: each.judged for name, each in self.per_class.items()}),
            "proposals": dict(self.proposals),
            "num_gt_per_size": dict(self.num_gt_per_band),
            "num_images": self.num_images,
            "num_gt": self.num_gt,
            "num_detections": self.num_detections,
            "warnings": list(self.warnings),
            "failed_images": dict(self.failures),
            "wanted_precision": self.settings.precision,
            "protocols": self.protocols,
        }


def evaluate_detections(
    data: DetectionData,
    detections: Mapping[int, Detections],
    *,
    proposals: Mapping[str, float | None] | None = None,
    failures: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    settings: EvaluationSettings | None = None,
) -> Evaluation:
    """Computes every number of a split.

    Args:
        data: The split.
        detections: Image id -> detections in original pixels, labels in [0, C). An image without an entry has none.
        proposals: Recall of the proposals (``proposal_recall``), if it was measured.
        failures: File name -> reason, for images that could not be read.
        warnings: What the reader must know besides, for example from ``read_detections``.
        settings: What may be chosen; None takes the usual.

    Returns:
        The numbers. Objects without any detection give 0, a class without objects gives None.

    Raises:
        ValueError: If detections belong to an unknown image or label.
    """
    settings = settings or EvaluationSettings()
    split = pack_split(data, detections)
    coco = coco_map_of(data, split, settings.coco)
    counts = count_per_band(data, settings.coco.bands)
    per_class = [
        _evaluate_class(split, coco, label, counts=counts, precision=settings.precision)
        for label in range(split.num_classes)
    ]
    # The results of another tool may hold more.
    limit = max([settings.detector_limit, *map(len, detections.values())])
    crowded = _crowd_warnings(data, settings.coco.max_detections) + overfull_warnings(data, limit)
    return Evaluation(
        settings=settings,
        coco=coco.summary,
        voc07=mean_of_present(each.voc07 for each in per_class),
        voc12=mean_of_present(each.voc12 for each in per_class),
        ilsvrc=mean_of_present(each.ilsvrc for each in per_class),
        per_class=dict(zip(data.class_names, per_class, strict=True)),
        num_gt_per_band={name: sum(row) for name, row in counts.items()},
        num_images=len(data.images),
        warnings=(*warnings, *crowded, *_failure_warnings(failures or {})),
        proposals=proposals or {},
        failures=failures or {},
        num_unjudged=len(split.unjudged),
    )


def _evaluate_class(
    split: SplitBoxes, coco: CocoMap, label: int, *, counts: Mapping[str, Sequence[int]], precision: float
) -> ClassEvaluation:
    """All numbers of one class."""
    boxes = split.of_class(label)
    matched = match_voc(boxes)
    matches = spare_ignored(boxes, matched)
    devkit, curve = precision_recall(matched), precision_recall(matches)
    return ClassEvaluation(
        ap=coco.ap[label],
        ap50=coco.ap50[label],
        voc07=average_precision_voc07(devkit),
        voc12=average_precision_voc12(devkit),
        ilsvrc=average_precision_voc12(precision_recall(match_ilsvrc(boxes.without(split.unjudged_images(label))))),
        num_gt=boxes.num_gt,
        num_detections=len(boxes.scores),
        ap_by_size={name: values[label] for name, values in coco.ap_by_band.items()},
        num_gt_by_size={name: row[label] for name, row in counts.items()},
        best=best_f1(curve),
        precise=precise_point(curve, precision),
        curve=curve,
        judged=judge(boxes, matches),
    )


def _crowd_warnings(data: DetectionData, counted: int) -> list[str]:
    """Images with so many objects of a class that the COCO numbers cannot reach 1 on them."""
    crowded = crowded_images(data, max_detections=counted)
    if not crowded:
        return []
    file_name = max(crowded, key=crowded.__getitem__)
    return [
        f"{len(crowded)} image(s) hold more than {counted} objects of one class ({file_name} holds "
        f"{crowded[file_name]}); the COCO numbers count the best {counted} detections per image and class, so AP and "
        "AR cannot reach 1 here; raise --max-detections"
    ]


def overfull_warnings(data: DetectionData, limit: int) -> list[str]:
    """Whether there are images with so many objects that a detector with this limit cannot find them all."""
    overfull = overfull_images(data, max_detections=limit)
    if not overfull:
        return []
    file_name = max(overfull, key=overfull.__getitem__)
    return [
        f"{len(overfull)} image(s) hold more than {limit} objects ({file_name} holds {overfull[file_name]}), and the "
        f"detector gives at most {limit} detections per image; raise postprocess.max_detections and "
        "proposals.num_detect"
    ]


def _failure_warnings(failures: Mapping[str, str]) -> list[str]:
    """Images that lower the numbers without being the detector's fault."""
    return [f"{len(failures)} image(s) could not be read and count as images without detections"] if failures else []

"""``multibox evaluate``: a model or a results file against labels, as numbers and as a page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.table import Table

from detection.atomic import make_folder
from detection.build import load_detector
from detection.checkpoint import load_header, sha256_of
from detection.data.classes import UnknownClasses
from detection.data.records import DetectionData, ImageRecord
from detection.detector import Detector
from detection.device import precision_name
from detection.evaluation.bootstrap import ApEstimates
from detection.evaluation.coco_map import CocoSettings
from detection.evaluation.coco_matching import MAX_DETECTIONS
from detection.evaluation.explanation import Explanation, explain
from detection.evaluation.judged_file import JudgedSplit, write_judged
from detection.evaluation.proposal_recall import proposal_recall
from detection.evaluation.report import write_report
from detection.evaluation.size_bands import parse_bands
from detection.evaluation.stage_blame import BLAMES, Examined, examine
from detection.evaluation.summary import Evaluation, EvaluationSettings, evaluate_detections
from detection.evaluation.texts import estimate_text, number_text
from detection.export.engine import ExportedDetector
from detection.image_detector import ImageDetector, ModelDetector
from detection.inference import SplitAnswers, detect_records
from detection.results_file import read_detections
from detection.side_by_side import count_lanes
from detection.structures import Detections
from detection.tracing import Trace
from tools.cli import plain_console, run_alone
from tools.detectors import (
    CacheOption,
    ComputeOption,
    EngineOption,
    TileOption,
    TtaOption,
    combine,
    describe_passes,
    open_model,
    tell_idle_cache,
    tell_if_uncut,
)
from tools.progress import counting
from tools.reading import evaluation_split, flattering, read_data

AUTO = "auto"

UNKNOWN_IMAGES = (
    "whether the model learnt from these images is not known: the model that was exported is not where it was",
)

MOST_PROPOSALS = 200
"""Proposals of an image whose recall is told."""

console = plain_console()


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model, exported or not, or COCO results (.json) of any tool.")],
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, metrics.json and evaluation.npz, which `compare` needs.")
    ],
    split: Annotated[
        str | None,
        typer.Option(help="Part to evaluate on, or a share: -20%. [default: test, else val..., else the only one]"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = AUTO,
    compute: ComputeOption = AUTO,
    engine: EngineOption = None,
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out objects of classes that the model does not know.")
    ] = False,
    tile: TileOption = None,
    tta: TtaOption = False,
    cache: CacheOption = None,
    bands: Annotated[
        str, typer.Option(help="Bounds between sizes of objects: 32,96 in pixels or 1%,10% of the image area.")
    ] = "32,96",
    max_detections: Annotated[
        int, typer.Option(min=1, help="Detections that the COCO numbers count per image and class.")
    ] = MAX_DETECTIONS,
    precision: Annotated[
        float, typer.Option(min=0, max=1, help="Share that shall be right at the second threshold of each class.")
    ] = 0.9,
) -> None:
    """Computes mAP by the COCO, VOC and ILSVRC protocols and writes a report.

    The report says which kinds of error cost how much, and for a model also which stage lost each missed object.

    With --tile or --tta a model makes several passes: there is no recall of proposals and no stage to blame. Nor is
    there of an exported file; beside its numbers stand those of the model that it was made of, where that is found.

    Example: multibox evaluate runs/first/model.safetensors my-data --split test --out report

    Example: multibox evaluate runs/first aerial --tile 640 --tta --out report
    """
    coco = CocoSettings(parse_bands(bands), max_detections)
    settings = EvaluationSettings(coco, precision)
    split = split or evaluation_split(data)
    make_folder(out)
    if model.suffix == ".json":
        _tell_unused(
            {
                "--tile": tile,
                "--tta": tta,
                "--engine": engine,
                "--cache": cache,
                "--drop-unknown": drop_unknown,
                "--device": device != AUTO,
                "--compute": compute != AUTO,
            }
        )
        judged = _judge_results(model, read_data(console, data, split), settings)
    else:
        detector = open_model(model, engine=engine, device=device, compute=compute, cache=cache, lanes=count_lanes())
        tell_idle_cache(console, cache, [detector])
        unknown: UnknownClasses = "drop" if drop_unknown else "error"
        labelled = read_data(console, data, split, class_names=detector.class_names, unknown_classes=unknown)
        source = _source_of(detector) if isinstance(detector, ExportedDetector) else model
        known = UNKNOWN_IMAGES if source is None else flattering(load_header(source), labelled)
        judged = _judge_model(detector, labelled, settings, tile=tile, tta=tta, warnings=known)
        if isinstance(detector, ExportedDetector) and source is not None:
            _compare_with_source(source, labelled, judged.evaluation, tile=tile)
    explanation = explain(judged.data, judged.detections, judged.evaluation, judged.examined)
    context = {"model": str(model), "data": str(data), "split": split, **judged.described}
    title = f"{data.resolve().name} · {split}"
    write_report(out, judged.data, judged.evaluation, explanation, title=title, context=context)
    document = JudgedSplit.of(
        judged.data,
        explanation.split,
        score_thresholds=explanation.score_thresholds,
        max_detections=coco.max_detections,
        context={**context, "warnings": "; ".join(judged.evaluation.warnings) or "none"},
    )
    write_judged(out, document)
    _show(judged.evaluation)
    _show_intervals(explanation.estimates)
    _show_reasons(explanation)
    console.print(f"report: {out / 'report.html'}")


class Judged(NamedTuple):
    """Answers to the images of a split, and what they are worth.

    Attributes:
        data: The split.
        detections: Of each image id.
        evaluation: The numbers.
        examined: Of each image id, what became of its objects; None if the stages could not be followed.
        described: What the numbers depend on besides model and data.
    """

    data: DetectionData
    detections: Mapping[int, Detections]
    evaluation: Evaluation
    examined: dict[int, Examined] | None
    described: dict[str, str]


def _judge_results(results: Path, data: DetectionData, settings: EvaluationSettings) -> Judged:
    """Judges what a results file says."""
    found = read_detections(results, data)
    unlimited = replace(settings, detector_limit=sys.maxsize)  # how many a tool could have given is unknown
    evaluation = evaluate_detections(data, found.detections, warnings=found.warnings, settings=unlimited)
    return Judged(data, found.detections, evaluation, None, {})


def _judge_model(
    detector: ModelDetector,
    data: DetectionData,
    settings: EvaluationSettings,
    *,
    tile: int | None,
    tta: bool,
    warnings: tuple[str, ...],
) -> Judged:
    """Lets a detector answer, and judges it."""
    tell_if_uncut(console, max(max(record.size_hw) for record in data.images), tile=tile)
    chosen = combine([detector], tile=tile, tta=tta)
    is_whole = isinstance(chosen, Detector)  # one pass of one network, whose stages can be followed
    examined: dict[int, Examined] | None = {} if is_whole else None
    answers = _detect(chosen, data, examined)
    evaluation = evaluate_detections(
        data,
        answers.detections,
        proposals=_recall(data, answers) if is_whole else None,
        failures=answers.failures,
        warnings=warnings,
        settings=replace(settings, detector_limit=sys.maxsize if tile else detector.max_detections),
    )
    described = _describe(detector) | describe_passes(tile=tile, tta=tta)
    return Judged(data, answers.detections, evaluation, examined, described)


def _tell_unused(options: Mapping[str, object]) -> None:
    """Says which of these options were given, which have no effect on a results file."""
    if unused := [name for name, value in options.items() if value]:
        console.print(f"note: {' and '.join(unused)} had no effect: the results in the file are evaluated as they are")


def _describe(detector: ModelDetector) -> dict[str, str]:
    """What the numbers depend on besides model and data."""
    if isinstance(detector, ExportedDetector):
        return {
            "lowest score": f"{detector.document.score_threshold:g}",
            "detections an image": f"at most {detector.max_detections}",
            "input": f"longer side {detector.document.longest_side} pixels",
            "layers computed in": precision_name(detector.precision),
            "exported from": detector.document.source,
        }
    assert isinstance(detector, Detector)
    kept, proposals = detector.network.detection_settings, detector.network.proposal_settings
    own = [] if detector.network.multibox is None else [f"the {proposals.num_proposals} best of MultiBox"]
    return {
        "lowest score": f"{kept.score_threshold:g}",
        "NMS": kept.describe_suppression(),
        "detections an image": f"at most {kept.max_detections}",
        "proposals": " and ".join([*own, *([] if detector.regions is None else ["those of selective search"])]),
        "input": f"longer side {detector.longest_side} pixels",
        "layers computed in": precision_name(detector.precision),
        "scores": _describe_scores(detector),
    }


def _describe_scores(detector: Detector) -> str:
    if detector.calibration is None:
        return "as the network gives them"
    return f"calibrated on '{detector.calibration.fitted_on.get('split')}'"


def _source_of(detector: ExportedDetector) -> Path | None:
    """The model that an export was made from; None, with a note, if it is not where it was."""
    source = Path(detector.document.source)
    if source.is_file() and sha256_of([source]) == detector.document.source_sha256:
        return source
    console.print(f"note: {source}: not the model that was exported, or not there; so no numbers of torch beside")
    return None


def _compare_with_source(source: Path, data: DetectionData, evaluation: Evaluation, *, tile: int | None) -> None:
    """Evaluates the model that an export was made of, in the same passes, and says how far the two are apart."""
    origin = load_detector(source, device="cpu", precision="float32")
    answers = _detect(combine([origin], tile=tile, tta=False), data, None)
    beside = evaluate_detections(data, answers.detections, settings=evaluation.settings)
    for name in ("AP", "AP50"):
        here, there = evaluation.coco[name], beside.coco[name]
        apart = "" if here is None or there is None else f", {here - there:+.4f}"
        console.print(f"{name} {number_text(here)}; of torch, {source}: {number_text(there)}{apart}")


def _detect(detector: ImageDetector, data: DetectionData, examined: dict[int, Examined] | None) -> SplitAnswers:
    """Detects on every image; fills ``examined`` by image id where the stages can be followed."""
    traced = None if examined is None else partial(_examine_into, examined)
    with counting(console, len(data.images), "detecting") as advance:
        return detect_records(detector, data.images, keep_proposals=MOST_PROPOSALS, heard=advance, traced=traced)


def _examine_into(examined: dict[int, Examined], record: ImageRecord, trace: Trace) -> None:
    examined[record.image_id] = examine(trace, record)


def _recall(data: DetectionData, answers: SplitAnswers) -> dict[str, float | None]:
    """Recall of the proposals at IoU 0.5 over the images that could be read."""
    records = [record for record in data.images if record.image_id in answers.proposals]
    return proposal_recall(
        [record.boxes for record in records],
        [answers.proposals[record.image_id].boxes.numpy() for record in records],
        gt_ignore=[record.ignore for record in records],
    )


def _show(evaluation: Evaluation) -> None:
    table = Table("class", "objects", "AP", "AP50", "best F1", "at score")
    for name, each in evaluation.per_class.items():
        best = each.best
        table.add_row(
            name,
            str(each.num_gt),
            number_text(each.ap),
            number_text(each.ap50),
            number_text(best.f1 if best else None),
            number_text(best.score_threshold if best else None),
        )
    console.print(table)
    coco = evaluation.coco
    told = ("AP", "AP50", "AP75", f"AR{evaluation.settings.coco.max_detections}")
    console.print("COCO  " + "  ".join(f"{name} {number_text(coco[name])}" for name in told))
    console.print(f"VOC07 mAP {number_text(evaluation.voc07)}   VOC12 mAP {number_text(evaluation.voc12)}")
    if evaluation.proposals:
        recall = "  ".join(f"{name} {number_text(value)}" for name, value in evaluation.proposals.items())
        console.print(f"proposals  {recall}")
    for warning in evaluation.warnings:
        console.print(f"warning: {warning}")
    for failure in evaluation.failures.values():
        console.print(f"not read: {failure}")


def _show_intervals(estimates: ApEstimates) -> None:
    """Says how far the headline numbers may be off, since the images are these and not others of their kind."""
    told = "  ".join(f"{name} {estimate_text(estimates.measures[name])}" for name in ("AP", "AP50", "AP75"))
    console.print(f"95 % intervals over images  {told}")


def _show_reasons(explanation: Explanation) -> None:
    """Says what the errors cost, and where missed objects were lost."""
    costs = "  ".join(f"{name} {number_text(cost)}" for name, cost in explanation.errors.costs.items())
    console.print(f"AP50 lost by kind of error  {costs}")
    if explanation.blame is not None:
        counts = explanation.blame.counts.sum(axis=0).tolist()
        lost = "  ".join(
            f"{name.replace('_', ' ')} {count}" for name, count in zip(BLAMES, counts, strict=True) if count
        )
        console.print(f"missed at the best thresholds: {sum(counts)}  {lost}")


if __name__ == "__main__":
    run_alone(evaluate)

"""``multibox evaluate``: a model or a results file against labels, as numbers and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from detection.build import load_detector
from detection.data.classes import UnknownClasses
from detection.data.records import DetectionData
from detection.detector import Detector
from detection.evaluation.proposal_recall import proposal_recall
from detection.evaluation.report import write_report
from detection.evaluation.report_view import number_text
from detection.evaluation.summary import Evaluation, evaluate_detections
from detection.inference import SplitAnswers, detect_records
from detection.predictions import read_detections
from tools.cli import run_alone
from tools.progress import counting
from tools.reading import read_data

console = Console(soft_wrap=True)


def evaluate(
    model: Annotated[Path, typer.Argument(help="model.safetensors of a run, or COCO results (.json) of any tool.")],
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html and metrics.json.")],
    split: Annotated[str, typer.Option(help="Part to evaluate on.")] = "test",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out objects of classes that the model does not know.")
    ] = False,
) -> None:
    """Computes mAP by the COCO, VOC and ILSVRC protocols and writes a report.

    Example: multibox evaluate runs/first/model.safetensors my-data --split test --out report
    """
    unknown: UnknownClasses = "drop" if drop_unknown else "error"
    if model.suffix == ".json":
        labelled = read_data(console, data, split)
        answers = SplitAnswers(detections=read_detections(model, labelled).detections)
        recall: dict[str, float | None] = {}
    else:
        detector = load_detector(model, device=device)
        labelled = read_data(console, data, split, class_names=detector.class_names, unknown_classes=unknown)
        answers = _detect(detector, labelled)
        recall = _recall(labelled, answers)
    evaluation = evaluate_detections(labelled, answers.detections, proposals=recall, failures=answers.failures)
    context = {"model": str(model), "data": str(data), "split": split, "images": str(len(labelled.images))}
    write_report(out, labelled, answers.detections, evaluation, title=f"{data.name} · {split}", context=context)
    _show(evaluation)
    console.print(f"report: {out / 'report.html'}")


def _detect(detector: Detector, data: DetectionData) -> SplitAnswers:
    with counting(console, len(data.images), "detecting") as advance:
        return detect_records(detector, data.images, heard=advance)


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
    console.print("COCO  " + "  ".join(f"{name} {number_text(coco[name])}" for name in ("AP", "AP50", "AP75", "AR100")))
    console.print(f"VOC07 mAP {number_text(evaluation.voc07)}   VOC12 mAP {number_text(evaluation.voc12)}")
    if evaluation.proposals:
        recall = "  ".join(f"{name} {number_text(value)}" for name, value in evaluation.proposals.items())
        console.print(f"proposals  {recall}")
    for warning in evaluation.warnings:
        console.print(f"warning: {warning}", markup=False)
    for failure in evaluation.failures.values():
        console.print(f"not read: {failure}", markup=False)


if __name__ == "__main__":
    run_alone(evaluate)

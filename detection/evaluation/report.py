"""The evaluation as files: ``metrics.json`` for programs and ``report.html``, one offline page, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detection.atomic import write_json
from detection.data.records import DetectionData
from detection.evaluation.explanation import Explanation
from detection.evaluation.explanation_view import Matrix, blame_bars, confusion_matrix, error_bars
from detection.evaluation.gallery import Gallery
from detection.evaluation.page import script_json, script_text, write_page
from detection.evaluation.report_view import MAX_CURVES, curve_plots, headlines, reliability_plot, size_bands
from detection.evaluation.score_table import STEPS, score_tables, total
from detection.evaluation.summary import Evaluation

_MAX_LISTED = 100


def write_report(
    out: Path,
    data: DetectionData,
    evaluation: Evaluation,
    explanation: Explanation,
    *,
    title: str,
    context: Mapping[str, str],
) -> None:
    """Writes ``metrics.json`` and ``report.html`` into a folder.

    The page needs no network and no other file. Every text of the user is escaped.

    Args:
        out: The folder; it is made if it is missing.
        data: The split that was evaluated.
        evaluation: The numbers.
        explanation: Why they are what they are.
        title: Heading of the page.
        context: What was evaluated and how, shown below the title: model, data, split, score floor, NMS.
    """
    write_json(out / "metrics.json", evaluation.to_metrics() | explanation.to_metrics())
    content = {
        "title": title,
        "context": context,
        "evaluation": evaluation,
        "protocols": evaluation.protocols,
        "headlines": headlines(evaluation.protocols, explanation.estimates),
        "estimates": explanation.estimates,
        "bands": size_bands(evaluation),
        "curves": curve_plots(evaluation.per_class),
        "max_curves": MAX_CURVES,
        "scores": reliability_plot(evaluation.per_class),
        "findings": data.findings[:_MAX_LISTED],
        "findings_by_kind": Counter(finding.kind for finding in data.findings),
        "failures": list(evaluation.failures.items())[:_MAX_LISTED],
        **_explained(data, explanation),
        **_moving(data, evaluation, explanation),
    }
    write_page(out / "report.html", "report.html.j2", content)


def _explained(data: DetectionData, explanation: Explanation) -> dict[str, Any]:
    """What the page says of reasons."""
    blame, gallery = explanation.blame, Gallery(data, explanation)
    return {
        "errors": error_bars(explanation.errors, explanation),
        "errors_ap50": explanation.errors.ap50,
        "blames": None if blame is None else blame_bars(blame, data.class_names),
        "num_missed": int(explanation.outcomes.missed(explanation.split, explanation.score_thresholds).sum()),
        "images": gallery.worst_images(),
        "cuts": {"False detections": gallery.worst_false(), "Missed objects": gallery.worst_missed()},
    }


def _moving(data: DetectionData, evaluation: Evaluation, explanation: Explanation) -> dict[str, Any]:
    """What the slider moves: the tables as they stand first, the arrays behind them, and the script."""
    tables = score_tables(evaluation.per_class)
    cuts = {name: table.cut(table.best) for name, table in tables.items()}
    matrix = confusion_matrix(explanation.confusion, data.class_names)
    script, script_policy = script_text("report_script.js.j2")
    embedded = {
        "steps": STEPS,
        "classes": [table.to_page(name) for name, table in tables.items()],
        "files": _named_images(data, matrix),
    }
    return {
        "steps": STEPS,
        "tables": tables,
        "cuts_at_best": cuts,
        "total": total(list(cuts.values())),
        "thresholds": [table.best for table in tables.values()],
        "matrix": matrix,
        "embedded": script_json(embedded),
        "script": script,
        "script_policy": script_policy,
    }


def _named_images(data: DetectionData, matrix: Matrix) -> dict[int, str]:
    """File names of the images that a cell of the matrix may name."""
    named = {image for _, cells, _ in matrix.rows for cell in cells if not cell.is_right for image in cell.images}
    return {image: data.images[image].file_name for image in sorted(named)}

"""The proposals of a split as files: ``proposals.json`` for programs and ``proposals.html``, one offline page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detection.atomic import write_json
from detection.evaluation.page import write_page
from detection.evaluation.proposal_summary import COVERED_IOU, MEASURES, ImageCover, ProposalEvaluation
from detection.evaluation.proposal_view import count_text, missed_pictures, recall_plots

_MAX_LISTED = 100


def write_proposal_report(
    out: Path,
    covers: Sequence[ImageCover],
    evaluation: ProposalEvaluation,
    *,
    class_names: Sequence[str],
    title: str,
    context: Mapping[str, str],
) -> None:
    """Writes ``proposals.json`` and ``proposals.html`` into a folder.

    The page needs no network and no other file. Every text of the user is escaped.

    Args:
        out: The folder; it is made if it is missing.
        covers: The images that were measured, for the pictures of missed objects.
        evaluation: Their numbers.
        class_names: Names by label.
        title: Heading of the page.
        context: What was measured and how, in both files: source, data, split, settings, what the time includes.
    """
    write_json(out / "proposals.json", {"context": dict(context), **evaluation.to_metrics()})
    pictures, num_missed = missed_pictures(covers, class_names)
    content = {
        "title": title,
        "context": context,
        "evaluation": evaluation,
        "measures": MEASURES,
        "covered_iou": COVERED_IOU,
        "count_text": count_text,
        "plots": recall_plots(evaluation),
        "pictures": pictures,
        "num_missed": num_missed,
        "failures": list(evaluation.failures.items())[:_MAX_LISTED],
    }
    write_page(out / "proposals.html", "proposal_report.html.j2", content)

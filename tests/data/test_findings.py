"""Many findings in a few lines."""

from __future__ import annotations

from detection.data.findings import group_findings, summarize_findings
from detection.data.records import Finding

FINDINGS = [
    Finding("tiny-box", "a.xml", "object 1", "left out"),
    Finding("bad-object", "a.xml", "object 2", "left out"),
    Finding("tiny-box", "b.xml", "object 3", "left out"),
    Finding("tiny-box", "c.xml", "object 4", "left out"),
    Finding("another", "d.xml", "object 5", "left out"),
]


def test_most_frequent_kind_first_then_by_name() -> None:
    groups = group_findings(FINDINGS)

    assert list(groups) == ["tiny-box", "another", "bad-object"]
    assert [finding.file for finding in groups["tiny-box"]] == ["a.xml", "b.xml", "c.xml"]


def test_summary_counts_and_shows_examples() -> None:
    assert summarize_findings(FINDINGS[:3], max_examples=1) == (
        "2 x tiny-box\n    a.xml: object 1; left out\n    ... and 1 more\n1 x bad-object\n    a.xml: object 2; left out"
    )
    assert "more" not in summarize_findings(FINDINGS, max_examples=3)


def test_no_findings() -> None:
    assert summarize_findings([]) == "no findings"


def test_summary_tells_where_the_others_are() -> None:
    shown = summarize_findings(FINDINGS, max_examples=2, more_hint="; see report.json")

    assert "\n    ... and 1 more; see report.json\n" in shown

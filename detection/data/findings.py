"""Many findings in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from detection.data.records import Finding


def group_findings(findings: Iterable[Finding]) -> Mapping[str, tuple[Finding, ...]]:
    """Groups findings by kind, the most frequent kind first, equal counts by name.

    Args:
        findings: Any number of findings.

    Returns:
        Kind -> its findings in their order; empty if there are none.
    """
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.kind, []).append(finding)
    return {kind: tuple(groups[kind]) for kind in sorted(groups, key=lambda kind: (-len(groups[kind]), kind))}


def summarize_findings(findings: Iterable[Finding], *, max_examples: int = 1, more_hint: str = "") -> str:
    """Tells how often each kind of fault occurs, with the first examples.

    Args:
        findings: Any number of findings.
        max_examples: How many findings of a kind are written out.
        more_hint: Where the others are to be found; follows their number.

    Returns:
        One line a kind and one a shown example, without a line break at the end; ``no findings`` if there are none.
    """
    lines = []
    for kind, group in group_findings(findings).items():
        lines.append(f"{len(group)} x {kind}")
        lines.extend(f"    {finding}" for finding in group[:max_examples])
        if len(group) > max_examples:
            lines.append(f"    ... and {len(group) - max_examples} more{more_hint}")
    return "\n".join(lines) or "no findings"

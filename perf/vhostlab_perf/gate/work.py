# SPDX-License-Identifier: BSD-3-Clause
"""T0: has the counted work per request grown?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from vhostlab_perf.gate.rules import WorkMetric, WorkRules

Counts = Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """A metric of a case. ``change`` and ``limit`` are fractions of the base."""

    case: str
    metric: str
    title: str
    base: float
    head: float
    change: float
    spread: float
    limit: float
    verdict: str

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.case}: {self.title} {self.base:g} → {self.head:g} per request, "
            f"{self.change:+.1%} (limit {self.limit:+.1%})"
        )


def spread(values: Sequence[float]) -> float:
    """How far counts of one build are apart, as a fraction of their mean."""
    mean = fmean(values)
    return (max(values) - min(values)) / mean if mean > 0 else 0.0


def judge(
    case: str, metric: WorkMetric, base: Sequence[float], head: Sequence[float], rules: WorkRules
) -> Finding:
    """fail: it has grown; inconclusive: counts of one build are too far apart; else pass."""
    before, after = fmean(base), fmean(head)
    apart = max(spread(base), spread(head))
    # Counts that are apart by less than what is called a change are not apart.
    steady = apart * before <= metric.least
    limit = rules.floor if steady else max(rules.floor, rules.factor * apart)
    change = (after - before) / before if before > 0 else 0.0
    grown = after - before > max(limit * before, metric.least)
    verdict = "fail" if grown else "inconclusive" if limit > rules.most else "pass"
    return Finding(case, metric.name, metric.title, before, after, change, apart, limit, verdict)


def judge_all(
    cases: Mapping[str, Mapping[str, Sequence[Counts]]], rules: WorkRules
) -> list[Finding]:
    """Every metric of every case that both builds have."""
    return [
        judge(
            case,
            metric,
            [counts[metric.name] for counts in arms["base"]],
            [counts[metric.name] for counts in arms["head"]],
            rules,
        )
        for case, arms in cases.items()
        for metric in rules.metrics
        if all(metric.name in counts for arm in ("base", "head") for counts in arms[arm])
    ]

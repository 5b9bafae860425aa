# SPDX-License-Identifier: BSD-3-Clause
"""The history of cells over runs, for the trends of the site.

Concepts: a *trend* is one cell, on every target that ran it. A line is one target in one
environment: values of two fingerprints come from different worlds and are never joined. Emulated
runs have no trend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vhostlab_perf import charts, labels
from vhostlab_perf.charts import Axis, Point
from vhostlab_perf.figures import CPU, DASH, IOPS, P99, Figure, Table
from vhostlab_perf.reader import Scalar, word

SHOWN = (IOPS, P99, CPU)


@dataclass(frozen=True)
class Past:
    """One run of one cell."""

    id: str
    target: str
    params: Mapping[str, Scalar]
    run_id: str
    started: str
    version: str
    fingerprint: str
    values: Mapping[str, float]
    page: str = ""
    """Where the run's page is, seen from the trends."""


@dataclass(frozen=True)
class Trend:
    """All runs of one cell, in the order of time."""

    id: str
    label: str
    runs: tuple[Past, ...]
    environments: tuple[tuple[str, str], ...]
    """Fingerprints, and what is special about each."""

    def document(self, generator: str) -> str:
        """The data behind the page."""
        entries = [
            {
                **{k: getattr(p, k) for k in ("run_id", "target", "version", "started")},
                "fingerprint": p.fingerprint,
                "values": p.values,
                "page": p.page,
            }
            for p in self.runs
        ]
        document = {
            "generator": generator,
            "id": self.id,
            "label": self.label,
            "environments": self.environments,
            "runs": entries,
        }
        return json.dumps(document, indent=1) + "\n"

    def newest(self) -> tuple[str, ...]:
        """The values of the newest run."""
        return tuple(c.show(self.runs[-1].values.get(c.metric)) for c in SHOWN)

    def course(self) -> tuple[float, ...]:
        """IOPS over runs of the newest run's target and environment."""
        new = self.runs[-1]
        same = (new.target, new.fingerprint)
        return tuple(
            p.values["iops"]
            for p in self.runs
            if "iops" in p.values and (p.target, p.fingerprint) == same
        )


def _past(name: str, run: Mapping[str, Any]) -> list[Past]:
    """The cells of a run; of one that says nothing sensible, none."""
    found = []
    for cell in run.get("cells") or []:
        found.append(
            Past(
                id=cell["id"],
                target=cell["target"],
                params=cell["params"],
                run_id=run["run_id"],
                started=run["started"],
                version=run["target_version"],
                fingerprint=run["fingerprint"],
                values=cell["values"],
                page=f"../runs/{name}/index.html",
            )
        )
    return found


def collect(known: Mapping[str, Mapping[str, Any]], past: Sequence[Past] = ()) -> tuple[Trend, ...]:
    """A trend for each cell; what a store has is added where no run of the site has it."""
    measured = {n: r for n, r in known.items() if r["timing"] == "performance"}
    all_runs = [p for name, run in measured.items() for p in _past(name, run)]
    have = {(p.run_id, p.id, p.target) for p in all_runs}
    all_runs += [p for p in past if (p.run_id, p.id, p.target) not in have]
    special = _environments([r["fingerprint"] for r in measured.values()], measured.values())
    groups: dict[str, list[Past]] = {}
    for p in sorted(all_runs, key=lambda p: (p.started, p.run_id)):
        groups.setdefault(p.id, []).append(p)
    trends = []
    for cell, runs in groups.items():
        label = word(labels.label(runs[0].params) or cell)
        prints = dict.fromkeys(p.fingerprint for p in runs)
        trends.append(
            Trend(cell, label, tuple(runs), tuple((f, special.get(f, "")) for f in prints))
        )
    return tuple(sorted(trends, key=lambda t: (t.label, t.id)))


def _environments(prints: Sequence[str], runs: Any) -> dict[str, str]:
    """What tells the environments apart, in words."""
    facts = {r["fingerprint"]: r.get("environment") or {} for r in runs}
    keys = dict.fromkeys(k for f in facts.values() for k in f)
    differ = [k for k in keys if len({json.dumps(f.get(k)) for f in facts.values()}) > 1]
    return {
        p: word(
            "; ".join(f"{k} {facts[p][k]}" for k in differ if facts[p].get(k) not in (None, ""))
        )
        for p in prints
    }


def figures(trend: Trend) -> tuple[Figure, ...]:
    """A chart for each metric, a panel for each target, a line for each environment."""
    made = []
    for column in SHOWN:
        points, rows = [], []
        for p in trend.runs:
            if column.metric not in p.values:
                continue
            value = p.values[column.metric]
            points.append(Point(p.target, p.fingerprint or DASH, p.started, value / column.unit))
            rows.append((p.run_id, p.started, p.version, p.fingerprint, column.show(value)))
        chart = charts.lines(points, Axis("started", time=True), Axis(column.heading))
        if chart is None:
            continue
        made.append(
            Figure(
                key=column.metric.replace("_", "-"),
                title=f"{column.heading} over time",
                note="Each point is one run (n = 1). Points of different environments are not"
                " joined: they cannot be compared.",
                chart=chart,
                table=Table(
                    ("Run", "started", "version", "environment", column.heading), tuple(rows)
                ),
                commands=(),
                functional=False,
                repeated=False,
            )
        )
    return tuple(made)

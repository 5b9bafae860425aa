# SPDX-License-Identifier: BSD-3-Clause
"""What a store knows, as plain values. The only module that reports and trends need.

::

    store = opened(chosen_url(None))
    for run in runs(store): ...
    for series in history(store, cell_id, "iops"): ...

Histories are made of performance timings only: what was measured under emulation is stored, can be
listed and shown, and never becomes a point of a series.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from vhostlab_perf import labels
from vhostlab_perf.store import bins, schema
from vhostlab_perf.store.engine import Store
from vhostlab_perf.store.errors import StoreError

Scalar = str | int | bool


@dataclass(frozen=True)
class Build:
    """What was measured."""

    id: str
    target: str
    version: str
    program: str
    """Hash of the program, or empty."""
    revision: str
    """Of the source tree, or empty."""

    def label(self) -> str:
        """For people: the most exact name that is known."""
        return " ".join(w for w in (self.version, self.revision or self.program) if w)


@dataclass(frozen=True)
class Run:
    """One run."""

    id: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    suite: str
    status: str
    command: str
    timing: str
    """performance | functional"""
    fingerprint: str
    accel: str
    build: Build
    cells: int
    scenarios: Mapping[str, int]
    """Status -> how many scenarios ended so."""


@dataclass(frozen=True)
class Cell:
    """A cell that was ever measured."""

    id: str
    params: Mapping[str, Scalar]
    results: int
    """In how many runs, of all kinds."""

    def label(self) -> str:
        """For people: the values in the order of the axes."""
        return labels.label(self.params)


@dataclass(frozen=True)
class Metric:
    """A metric of cells."""

    name: str
    unit: str
    direction: str
    """Which way is better: higher | lower | neither"""


@dataclass(frozen=True)
class Point:
    """One value of a series: one run."""

    run: str
    started: str
    build: Build
    value: float
    steady: str
    """steady | not steady | unknown"""


@dataclass(frozen=True)
class Series:
    """What may be compared over time: one cell, metric and target in one environment."""

    cell: str
    metric: Metric
    target: str
    fingerprint: str
    points: tuple[Point, ...]
    """The oldest first; at least one."""


@dataclass(frozen=True)
class Latency:
    """A histogram of completion latencies, possibly of several runs together."""

    way: str
    samples: int
    min_ns: int
    max_ns: int
    mean_ns: float
    bins: Mapping[int, int]

    def percentile(self, which: float) -> int:
        """From the bins, as fio does."""
        return bins.percentile(self.bins, which)


@dataclass(frozen=True)
class Verdict:
    """What was said about two builds."""

    id: str
    kind: str
    """ab | aa | gate"""
    started: str
    seconds: float
    verdict: str
    reason: str
    base: str
    head: str
    base_build: str
    head_build: str
    fingerprint: str
    command: str


_BUILD = (
    schema.builds.c.id.label("build_id"),
    schema.builds.c.target,
    schema.builds.c.version,
    schema.builds.c.program,
    schema.builds.c.revision,
)


def _build(row: Any) -> Build:
    return Build(row.build_id, row.target, row.version, row.program, row.revision)


def _pairs(connection: sa.Connection, question: sa.Select[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(question)}


def _counts(connection: sa.Connection) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    results, scenarios = schema.cell_results.c, schema.scenarios.c
    cells = sa.select(results.run, sa.func.count()).group_by(results.run)
    ends = sa.select(scenarios.run, scenarios.status, sa.func.count()).group_by(
        scenarios.run, scenarios.status
    )
    by_run: dict[str, dict[str, int]] = {}
    for run, status, count in connection.execute(ends):
        by_run.setdefault(run, {})[status] = count
    return _pairs(connection, cells), by_run


def runs(store: Store, *, target: str = "", suite: str = "") -> tuple[Run, ...]:
    """All runs, or those of a target or a suite; the oldest first."""
    r = schema.runs.c
    question = sa.select(
        r.id, r.started, r.seconds, r.suite, r.status, r.command, r.timing, r.fingerprint,
        schema.environments.c.accel, *_BUILD,
    ).select_from(schema.runs.join(schema.builds).join(schema.environments))  # fmt: skip
    if target:
        question = question.where(schema.builds.c.target == target)
    if suite:
        question = question.where(r.suite == suite)
    with store.transaction() as connection:
        cells, scenarios = _counts(connection)
        found = [
            Run(
                id=row.id,
                started=row.started,
                seconds=row.seconds,
                suite=row.suite,
                status=row.status,
                command=row.command,
                timing=row.timing,
                fingerprint=row.fingerprint,
                accel=row.accel,
                build=_build(row),
                cells=cells.get(row.id, 0),
                scenarios=scenarios.get(row.id, {}),
            )
            for row in connection.execute(question)
        ]
    # in Python: databases sort texts by the rules of a language
    return tuple(sorted(found, key=lambda run: (run.started, run.id)))


def cells(store: Store) -> tuple[Cell, ...]:
    """All cells that were ever measured, in the order of their ids."""
    results = schema.cell_results.c
    counts = sa.select(results.cell, sa.func.count()).group_by(results.cell)
    with store.transaction() as connection:
        number = _pairs(connection, counts)
        known = connection.execute(sa.select(schema.cells.c.id, schema.cells.c.params)).all()
    found = (Cell(row.id, row.params, number[row.id]) for row in known if row.id in number)
    return tuple(sorted(found, key=lambda cell: cell.id))


def metrics(store: Store, cell: str = "") -> tuple[Metric, ...]:
    """The metrics that a cell, or any, was measured in, by name."""
    m = schema.measurements.c
    question = sa.select(m.metric, m.unit, m.direction).distinct()
    if cell:
        question = question.where(m.cell == cell)
    with store.transaction() as connection:
        found = [Metric(*row) for row in connection.execute(question)]
    return tuple(sorted(found, key=lambda metric: (metric.name, metric.unit)))


def history(
    store: Store, cell: str = "", metric: str = "", *, target: str = ""
) -> tuple[Series, ...]:
    """The series of a cell and metric (left out: of each), one per target and environment.

    The one with the newest point comes first. A cell or metric that nobody measured has none.
    """
    m, r, c = schema.measurements.c, schema.runs.c, schema.cell_results.c
    question = (
        sa.select(
            m.cell, m.metric, m.unit, m.direction, m.value,
            r.id.label("run"), r.started, r.fingerprint, c.steady, *_BUILD,
        )
        .select_from(schema.measurements.join(schema.cell_results))
        .join(schema.runs, r.id == m.run)
        .join(schema.builds, schema.builds.c.id == r.build)
        .where(r.timing == "performance")
    )  # fmt: skip
    for column, wanted in ((m.cell, cell), (m.metric, metric), (schema.builds.c.target, target)):
        if wanted:
            question = question.where(column == wanted)
    found: dict[tuple[str, Metric, str, str], list[Point]] = {}
    with store.transaction() as connection:
        for row in connection.execute(question):
            what = Metric(row.metric, row.unit, row.direction)
            found.setdefault((row.cell, what, row.target, row.fingerprint), []).append(
                Point(row.run, row.started, _build(row), row.value, row.steady)
            )
    made = [
        Series(*key, points=tuple(sorted(points, key=lambda p: (p.started, p.run))))
        for key, points in found.items()
    ]
    made.sort(key=lambda s: (s.cell, s.metric.name, s.target, s.fingerprint))
    made.sort(key=lambda s: s.points[-1].started, reverse=True)
    return tuple(made)


def latencies(store: Store, run: str, cell: str) -> tuple[Latency, ...]:
    """The histograms of a cell in a run, one for each way that data went."""
    with store.transaction() as connection:
        found = connection.execute(
            sa.select(schema.latencies).where(
                schema.latencies.c.run == run, schema.latencies.c.cell == cell
            )
        ).all()
    made = (
        Latency(r.way, r.samples, r.min_ns, r.max_ns, r.mean_ns, bins.unpack(r.bins)) for r in found
    )
    return tuple(sorted(made, key=lambda latency: latency.way))


def merged(parts: tuple[Latency, ...]) -> Latency:
    """Several histograms of the same way as one."""
    (way,) = {part.way for part in parts}
    samples = sum(part.samples for part in parts)
    return Latency(
        way=way,
        samples=samples,
        min_ns=min(part.min_ns for part in parts),
        max_ns=max(part.max_ns for part in parts),
        mean_ns=sum(part.mean_ns * part.samples for part in parts) / samples,
        bins=bins.merge(part.bins for part in parts),
    )


def per_second(store: Store, run: str, cell: str) -> dict[str, tuple[float, ...]]:
    """The per-second series of a cell in a run, by name; empty where none was kept."""
    s = schema.series.c
    with store.transaction() as connection:
        found = connection.execute(
            sa.select(s.name, s.points).where(s.run == run, s.cell == cell)
        ).all()
    return {row.name: bins.unpack_points(row.points) for row in sorted(found, key=lambda r: r.name)}


def facts(store: Store, fingerprint: str) -> dict[str, Any]:
    """What an environment is."""
    e = schema.environments.c
    with store.transaction() as connection:
        found = connection.execute(sa.select(e.facts).where(e.fingerprint == fingerprint)).scalar()
    if found is None:
        raise StoreError(f"the store knows no environment {fingerprint}")
    return dict(found)


def document(store: Store, run: str, path: str = "result.json") -> bytes:
    """A file of a run, as it was imported; raises StoreError where it is not kept."""
    f = schema.files.c
    with store.transaction() as connection:
        known = connection.execute(sa.select(schema.runs.c.id).where(schema.runs.c.id == run))
        if known.scalar() is None:
            raise StoreError(f"the store has no run {run}; `vhostlab db list` lists what it has")
        content = connection.execute(
            sa.select(f.content).where(f.run == run, f.path == path)
        ).scalar()
    if content is None:
        raise StoreError(f"the store keeps no {path} of run {run}; `db prune` may have dropped it")
    return zlib.decompress(content)


def verdicts(store: Store, kind: str = "") -> tuple[Verdict, ...]:
    """All verdicts, or those of a kind; the oldest first."""
    v = schema.verdicts.c
    question = sa.select(*(v[name] for name in Verdict.__dataclass_fields__))
    if kind:
        question = question.where(v.kind == kind)
    with store.transaction() as connection:
        found = [Verdict(*row) for row in connection.execute(question)]
    return tuple(sorted(found, key=lambda verdict: (verdict.started, verdict.id)))

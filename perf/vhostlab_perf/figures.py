# SPDX-License-Identifier: BSD-3-Clause
"""What a report shows of its cells: each figure a chart, the same as a table, and its command.

Every function takes cells of one timing: emulated and measured ones are never in one figure.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhostlab_perf import charts
from vhostlab_perf.aggregate import Estimate, Measured, curves
from vhostlab_perf.charts import Axis, Bar, Chart, Point

if TYPE_CHECKING:
    from vhostlab_perf.compare import Ladder

MICRO = "\N{MICRO SIGN}s"
DASH = "\N{EN DASH}"

#: From here on digits say less than an exponent.
LARGEST_PLAIN = 1e15


@dataclass(frozen=True)
class Column:
    """How a metric is shown: the unit that it is divided by, and digits after the point."""

    metric: str
    heading: str
    unit: float = 1.0
    digits: int = 0

    def show(self, value: float | None) -> str:
        return number(None if value is None else value / self.unit, self.digits)

    def spread(self, found: Estimate | None) -> str:
        """The interval, if there is one."""
        if found is None or found.n < 2:
            return ""
        return f"[{self.show(found.low)}, {self.show(found.high)}]"


IOPS = Column("iops", "IOPS")
P99 = Column("latency_p99", f"p99 {MICRO}", 1e3, 1)
MEAN = Column("latency_mean", f"mean {MICRO}", 1e3, 1)
CPU = Column("target_cpu_per_io", f"CPU {MICRO}/IO", 1e3, 2)
COLUMNS = (
    IOPS,
    Column("bandwidth", "MB/s", 1e6, 1),
    MEAN,
    Column("latency_p50", f"p50 {MICRO}", 1e3, 1),
    P99,
    Column("latency_p99_9", f"p99.9 {MICRO}", 1e3, 1),
    CPU,
    Column("others_cpu", "others\N{RIGHT SINGLE QUOTATION MARK} cores", 1.0, 2),
)

PERCENTILES = (
    ("latency_p50", "50"),
    ("latency_p90", "90"),
    ("latency_p99", "99"),
    ("latency_p99_9", "99.9"),
    ("latency_p99_99", "99.99"),
)


@dataclass(frozen=True)
class Sweep:
    """A parameter that charts have as their x axis. ``absent``: its value in cells without it."""

    axis: str
    words: str
    absent: float | None = None
    log: bool = False


SWEEPS = (
    Sweep("depth", "queue depth", None, log=True),
    Sweep("target_cores", "cores of the target", 1.0),
    Sweep("vms", "guests at once", 1.0),
    Sweep("jobs", "fio jobs", 1.0),
    Sweep("queues", "queues"),
    Sweep("vcpus", "vCPUs"),
)


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column names the row."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """One chart with everything that belongs to it."""

    key: str
    title: str
    note: str
    chart: Chart
    table: Table
    commands: tuple[str, ...]
    functional: bool
    repeated: bool
    """All that its table says is in the table of all cells as well."""


def number(value: float | None, digits: int = 0) -> str:
    """Digits grouped by thin spaces; a dash for what was not measured."""
    if value is None:
        return DASH
    if abs(value) >= LARGEST_PLAIN:
        return f"{value:.3g}"
    return f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def commands(replays: Iterable[str]) -> tuple[str, ...]:
    """The commands that repeat several cells: those that differ in ``--cell`` only are one."""
    merged: dict[tuple[str, ...], list[str]] = {}
    for replay in replays:
        try:
            words = shlex.split(replay)
        except ValueError:
            words = [replay]
        rest, cells = [], []
        while words:
            word = words.pop(0)
            if word == "--cell" and words:
                cells.append(words.pop(0))
            else:
                rest.append(word)
        merged.setdefault(tuple(rest), []).extend(cells)
    found = []
    for words_left, ids in merged.items():
        chosen = [w for i in dict.fromkeys(ids) for w in ("--cell", i)]
        if words_left:
            found.append(shlex.join([*words_left, *chosen]))
    return tuple(found)


def counted(cells: Sequence[Measured]) -> str:
    """How many runs are behind the values, and what their interval is."""
    sizes = sorted({len(c.runs) for c in cells})
    if sizes in ([], [1]):
        return "One run of each cell (n = 1): no interval can be given."
    shown = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    sure = sorted({e.confidence for c in cells for e in c.metrics.values() if e.n > 1})
    if not sure:
        return f"n = {shown} runs, of which no metric has two values: no interval can be given."
    words = f"{sure[0]:.1%}" if len(sure) == 1 else f"{sure[0]:.1%} to {sure[-1]:.1%}"
    return (
        f"Medians of n = {shown} runs; the interval is one of order statistics and holds the median"
        f" with a confidence of {words}, whatever the distribution."
    )


_ELSEWHERE = {
    *(c.heading for c in COLUMNS),
    *("Cell", "n", "interval", "step"),
    *(s.words for s in SWEEPS),
}


def _figure(
    key: str, title: str, note: str, chart: Chart | None, table: Table, cells: Sequence[Measured]
) -> list[Figure]:
    if chart is None:
        return []
    functional = any(c.functional for c in cells)
    if functional:
        key, title = f"functional-{key}", f"{title} (functional timing)"
    replay = commands(c.replay for c in cells if c.replay)
    repeated = all(h in _ELSEWHERE for h in table.headings)
    return [Figure(key, title, note, chart, table, replay, functional, repeated)]


def _bars(key: str, title: str, column: Column, cells: Sequence[Measured]) -> list[Figure]:
    shown = [c for c in cells if column.metric in c.metrics]
    shown.sort(key=Measured.place)
    found, rows = [], []
    for c in shown:
        e = c.metrics[column.metric]
        low, high = (e.low / column.unit, e.high / column.unit) if e.n > 1 else (None, None)
        text = column.show(e.median)
        name = f"{c.workload()}  {c.system()}".strip()
        group = str(c.params.get("device") or c.path)
        found.append(Bar(name, group, e.median / column.unit, text, low, high))
        rows.append((c.label(), str(e.n), text, column.spread(e) or DASH))
    table = Table(("Cell", "n", column.heading, "interval"), tuple(rows))
    return _figure(key, title, counted(shown), charts.bars(found, column.heading), table, shown)


def iops(cells: Sequence[Measured]) -> list[Figure]:
    """IOPS of every cell."""
    return _bars("iops", "IOPS of every cell", IOPS, cells)


def cpu(cells: Sequence[Measured]) -> list[Figure]:
    """What an I/O costs the target."""
    return _bars("cpu", "CPU time of the target per I/O", CPU, cells)


def _ticks(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(sorted(set(values)))


def sweeps(cells: Sequence[Measured]) -> list[Figure]:
    """IOPS against each parameter that varies while all others stay."""
    return [f for s in SWEEPS for f in _sweep(cells, s)]


def _sweep(cells: Sequence[Measured], sweep: Sweep) -> list[Figure]:
    points, rows, used = [], [], []
    for curve in curves([c for c in cells if "iops" in c.metrics], sweep.axis, sweep.absent):
        for x, c in curve.cells:
            e = c.metrics["iops"]
            low, high = (e.low, e.high) if e.n > 1 else (None, None)
            panel = c.workload(without=sweep.axis) or "all"
            points.append(Point(panel, c.system(sweep.axis), x, e.median, low, high))
            row = (c.label(), number(x), str(e.n), IOPS.show(e.median), IOPS.spread(e) or DASH)
            rows.append(row)
            used.append(c)
    x_axis = Axis(sweep.words, log=sweep.log, ticks=_ticks(float(p.x) for p in points))
    return _figure(
        f"iops-{sweep.axis.replace('_', '-')}",
        f"IOPS against {sweep.words}",
        f"A line joins cells that differ in nothing else. {counted(used)}",
        charts.lines(points, x_axis, Axis("IOPS")),
        Table(("Cell", sweep.words, "n", "IOPS", "interval"), tuple(rows)),
        used,
    )


def percentiles(cells: Sequence[Measured]) -> list[Figure]:
    """Latency by percentile."""
    points, rows, used = [], [], []
    for c in sorted(cells, key=Measured.place):
        found = [(name, c.metrics[m]) for m, name in PERCENTILES if m in c.metrics]
        for name, e in found:
            low, high = (e.low / 1e3, e.high / 1e3) if e.n > 1 else (None, None)
            panel = c.workload() or "all"
            points.append(Point(panel, c.system(), name, e.median / 1e3, low, high))
        if found:
            used.append(c)
            values = [P99.show(c.value(m)) for m, _ in PERCENTILES]
            rows.append((c.label(), str(len(c.runs)), *values))
    x = Axis("percentile", names=tuple(name for _, name in PERCENTILES))
    return _figure(
        "latency",
        "Completion latency by percentile, one panel for each workload",
        counted(used),
        charts.lines(points, x, Axis(f"latency, {MICRO}", log=True)),
        Table(("Cell", "n", *(f"p{name} {MICRO}" for _, name in PERCENTILES)), tuple(rows)),
        used,
    )


def load(cells: Sequence[Measured]) -> list[Figure]:
    """Latency over the rate at which it was seen, along growing depth (or rate)."""
    points, rows, used = [], [], []
    usable = [c for c in cells if {"iops", "latency_p50", "latency_p99"} <= c.metrics.keys()]
    for axis in ("rate", "depth"):
        for curve in curves(usable, axis, None):
            for kind in ("p50", "p99"):
                for _, c in curve.cells:
                    y = c.metrics[f"latency_{kind}"].median / 1e3
                    panel = c.workload(without=axis) or "all"
                    points.append(Point(panel, c.system(), c.metrics["iops"].median, y, kind=kind))
            for step, c in curve.cells:
                shown = (IOPS.show(c.value("iops")), P99.show(c.value("latency_p50")))
                row = (c.label(), f"{axis} {step:g}", *shown, P99.show(c.value("latency_p99")))
                rows.append(row)
                used.append(c)
    return _figure(
        "load",
        "Latency against load",
        f"Along each line the depth (or the rate) grows. {counted(used)}",
        charts.lines(points, Axis("IOPS"), Axis(f"latency, {MICRO}", log=True)),
        Table(("Cell", "step", "IOPS", f"p50 {MICRO}", f"p99 {MICRO}"), tuple(rows)),
        used,
    )


_FAIR = re.compile(r"jain|fairness", re.IGNORECASE)


def fairness(cells: Sequence[Measured]) -> list[Figure]:
    """How evenly guests shared the target: 1 is evenly, 1/n is one of n got everything."""
    found, rows, used = [], [], []
    for c in cells:
        for name in (m for m in c.metrics if _FAIR.search(m)):
            e = c.metrics[name]
            low, high = (e.low, e.high) if e.n > 1 else (None, None)
            shown = number(e.median, 3)
            found.append(Bar(c.label(), name, e.median, shown, low, high))
            worst = [
                f"{m.replace('_', ' ')} {P99.show(c.value(m))} {MICRO}"
                for m in c.metrics
                if "worst" in m and c.metrics[m].unit == "ns"
            ]
            rows.append((c.label(), str(e.n), shown, ", ".join(worst) or DASH))
            used.append(c)
    return _figure(
        "fairness",
        "Fairness between guests (Jain\N{RIGHT SINGLE QUOTATION MARK}s index)",
        f"1: every guest got the same. {counted(used)}",
        charts.bars(found, "Jain's index"),
        Table(("Cell", "n", "index", "worst guest"), tuple(rows)),
        used,
    )


def ladder(found: Sequence[Ladder]) -> list[Figure]:
    """The rungs of every ladder: what each way reached."""
    bars, rows, used = [], [], []
    for one in found:
        for rung in one.rungs:
            e = rung.cell.metrics["iops"]
            low, high = (e.low, e.high) if e.n > 1 else (None, None)
            shown = IOPS.show(e.median)
            bars.append(Bar(rung.name, rung.name, e.median, shown, low, high, one.title))
            rows.append(
                (f"{one.title}: {rung.name}", str(e.n), IOPS.show(e.median), IOPS.spread(e) or DASH)
            )
            used.append(rung.cell)
    return _figure(
        "ladder",
        "IOPS layer by layer",
        counted(used),
        charts.bars(bars, "IOPS"),
        Table(("Layer", "n", "IOPS", "interval"), tuple(rows)),
        used,
    )


_ALL: tuple[Callable[[Sequence[Measured]], list[Figure]], ...] = (
    iops,
    sweeps,
    percentiles,
    load,
    cpu,
    fairness,
)


def every(cells: Sequence[Measured]) -> list[Figure]:
    """Whatever can be drawn of the cells; measured ones first, emulated ones apart from them."""
    measured = [c for c in cells if not c.functional]
    emulated = [c for c in cells if c.functional]
    return [figure for group in (measured, emulated) for draw in _ALL for figure in draw(group)]

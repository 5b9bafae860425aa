# SPDX-License-Identifier: BSD-3-Clause
"""Joins the cells of several runs: one figure per cell, with what is known of its spread.

Concepts: the unit of replication is the *run*. An *estimate* is the median over runs, with an
interval of order statistics for that median; with one run there is no interval, and with few the
interval says how sure it is. A *ratio* of two estimates is the Hodges-Lehmann one, with the
interval of the Mann-Whitney test. Neither assumes a distribution. Cells are joined when id, target
and timing are the same: emulated runs and measured ones never meet.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from vhostlab_perf.labels import param
from vhostlab_perf.reader import Cell, Result, Scalar

#: How sure an interval is to be, where there are runs enough.
CONFIDENCE = 0.95

#: Up to so many pairs the interval of a ratio is exact, beyond it the normal approximation is.
EXACT_PAIRS = 400

#: What is done; the other parameters say by whom. A chart has a panel for each combination.
WORKLOAD = ("pattern", "bs", "depth", "jobs", "rate", "rwmix")

STEADY, NOT_STEADY, UNKNOWN = "steady", "not steady", "unknown"


@dataclass(frozen=True)
class Estimate:
    """A metric over runs. ``confidence`` is that of the interval; with one run there is none."""

    unit: str
    direction: str
    values: tuple[float, ...]
    low: float
    high: float
    confidence: float

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @classmethod
    def of(cls, values: Sequence[float], unit: str = "", direction: str = "neither") -> Estimate:
        """Of at least one value."""
        low, high, confidence = interval(values)
        return cls(unit, direction, tuple(values), low, high, confidence)


@dataclass(frozen=True)
class Ratio:
    """One estimate over another."""

    value: float
    low: float
    high: float
    confidence: float
    counts: tuple[int, int]


@dataclass(frozen=True)
class Measured:
    """One cell on one target, over all runs that measured it."""

    id: str
    target: str
    timing: str
    params: Mapping[str, Scalar]
    metrics: Mapping[str, Estimate]
    runs: tuple[str, ...]
    steady: tuple[str, ...]
    series: tuple[float, ...]
    replay: str
    unsaid: frozenset[str] = field(default=frozenset(), compare=False)
    """Parameters that tell it from no other cell of the report."""

    @property
    def functional(self) -> bool:
        return self.timing != "performance"

    @property
    def path(self) -> str:
        """The way that the I/O took: through a guest unless the cell says otherwise."""
        return str(self.params.get("path") or "guest")

    def label(self) -> str:
        """Every parameter that says something, for a table or a bar."""
        return self.words(self.unsaid)

    def workload(self, without: str = "") -> str:
        """What is done: the same for all that are compared."""
        return _joined(self.params, (k for k in self.params if k in WORKLOAD and k != without))

    def system(self, without: str = "") -> str:
        """Who does it: device, bdev, rings, way, target."""
        said = set(WORKLOAD) | self.unsaid | {without}
        return self.words(said) or self.target

    def words(self, without: Iterable[str] = ()) -> str:
        """The values of the parameters, but for some of them."""
        hidden = set(without)
        own = [k for k in self.params if k not in hidden]
        words = _joined(self.params, own)
        if "target" in hidden or "target" in self.params:
            return words
        return f"{words} {self.target}".strip()

    def place(self) -> tuple[tuple[bool, float, str], ...]:
        """Where it stands among others: by what is done, numbers by their size."""
        values = (self.params.get(k) for k in WORKLOAD)
        return tuple(
            (False, float(v), "")
            if isinstance(v, int | float)
            else (True, *_amount("" if v is None else str(v)))
            for v in values
        )

    def value(self, metric: str) -> float | None:
        """The median, if the metric was measured."""
        found = self.metrics.get(metric)
        return found.median if found else None

    def verdict(self) -> str:
        """Steady if every run was; not steady if one was not."""
        if NOT_STEADY in self.steady:
            return NOT_STEADY
        return STEADY if self.steady and set(self.steady) == {STEADY} else UNKNOWN


def _joined(params: Mapping[str, Scalar], keys: Iterable[str]) -> str:
    return " ".join(param(k, params[k]) for k in keys)


def _amount(text: str) -> tuple[float, str]:
    """A size such as 4k or 1m by its amount; other text behind all sizes, by its letters."""
    found = re.fullmatch(r"(\d{1,12})([kmg]?)", text, re.IGNORECASE)
    if found is None:
        return math.inf, text
    return float(found[1]) * 1024 ** " kmg".index(found[2].lower() or " "), text


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The narrowest order statistics around the median that are sure enough, and how sure they are.

    With too few values for that, the smallest and the largest one: of two runs they hold the median
    of the distribution with a probability of one half, of five with 0.94.
    """
    ordered = sorted(values)
    n = len(ordered)
    if n < 2:
        return ordered[0], ordered[0], 0.0
    tail, inside = 0.0, 0
    best = (ordered[0], ordered[-1], 1 - 2 * 0.5**n)
    for k in range((n - 1) // 2 + 1):
        tail += math.comb(n, k) * 0.5**n
        if 1 - 2 * tail < CONFIDENCE:
            break
        inside = k
        best = (ordered[inside], ordered[n - 1 - inside], 1 - 2 * tail)
    return best


@cache
def _mann_whitney(first: int, second: int) -> tuple[int, ...]:
    """In how many arrangements of the two groups U is 0, 1, 2, ... if they do not differ."""
    counts = {(0, 0): [1]}
    for i in range(first + 1):
        for j in range(second + 1):
            if i or j:
                row = [0] * (i * j + 1)
                for u, c in enumerate(counts[i - 1, j] if i else []):
                    row[u + j] += c
                for u, c in enumerate(counts[i, j - 1] if j else []):
                    row[u] += c
                counts[i, j] = row
    return tuple(counts[first, second])


def ratio(over: Estimate, under: Estimate) -> Ratio | None:
    """``over`` in terms of ``under``; None where a value is not positive."""
    if min(*over.values, *under.values) <= 0:
        return None
    logs = sorted(math.log(a) - math.log(b) for a in over.values for b in under.values)
    sizes = (over.n, under.n)
    middle = math.exp(statistics.median(logs))
    if min(sizes) < 2:
        return Ratio(middle, middle, middle, 0.0, sizes)
    k, confidence = _rank(*sizes)
    return Ratio(middle, math.exp(logs[k]), math.exp(logs[-1 - k]), confidence, sizes)


def _rank(first: int, second: int) -> tuple[int, float]:
    """How many of the pairwise differences lie outside of the interval on each side."""
    pairs = first * second
    if pairs > EXACT_PAIRS:
        spread = math.sqrt(pairs * (first + second + 1) / 12)
        outside = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * spread
        return max(math.floor(pairs / 2 - outside) - 1, 0), CONFIDENCE
    ways = _mann_whitney(first, second)
    total, tail, k, confidence = sum(ways), 0, 0, 0.0
    for u in range(pairs // 2 + 1):
        tail += ways[u]
        if u and 1 - 2 * tail / total < CONFIDENCE:
            break
        k, confidence = u, 1 - 2 * tail / total
    return k, confidence


def _estimates(cells: Sequence[Cell]) -> dict[str, Estimate]:
    names = dict.fromkeys(name for c in cells for name in c.metrics)
    found = {}
    for name in names:
        metrics = [c.metrics[name] for c in cells if name in c.metrics]
        unit, direction = metrics[0].unit, metrics[0].direction
        # one name in two units is two things: the first one's are kept
        values = [m.value for m in metrics if m.unit == unit]
        found[name] = Estimate.of(values, unit, direction)
    return found


def _unsaid(params: Sequence[Mapping[str, Scalar]], targets: set[str]) -> frozenset[str]:
    """The way and the target, where there is only one: the head of the report has them."""
    ways = {str(p.get("path")) for p in params}
    alike = {"path"} if len(ways) <= 1 else set()
    return frozenset(alike | ({"target"} if len(targets) <= 1 else set()))


def aggregate(results: Sequence[Result]) -> tuple[Measured, ...]:
    """The cells of all runs, in the order in which they were first met."""
    groups: dict[tuple[str, str, str], list[tuple[str, Cell]]] = {}
    for result in results:
        for cell in result.cells:
            target = str(cell.params.get("target") or result.target)
            key = (cell.id, target, result.timing)
            groups.setdefault(key, []).append((result.run_id, cell))
    targets = {target for _, target, _ in groups}
    unsaid = _unsaid([g[0][1].params for g in groups.values()], targets)
    return tuple(
        Measured(
            id=cell_id,
            target=target,
            timing=timing,
            params=found[0][1].params,
            metrics=_estimates([c for _, c in found]),
            runs=tuple(run for run, _ in found),
            steady=tuple(c.steady for _, c in found),
            series=next((c.series for _, c in reversed(found) if c.series), ()),
            replay=found[0][1].replay,
            unsaid=unsaid,
        )
        for (cell_id, target, timing), found in groups.items()
    )


@dataclass(frozen=True)
class Curve:
    """Cells that differ in one parameter only, in its order."""

    axis: str
    cells: tuple[tuple[float, Measured], ...]


def curves(cells: Sequence[Measured], axis: str, absent: float | None) -> tuple[Curve, ...]:
    """Where ``axis`` takes two values or more and every other parameter is the same.

    ``absent`` is the value of a cell that does not have the parameter, if there is such a default.
    """
    groups: dict[object, dict[float, Measured]] = {}
    for cell in cells:
        value = cell.params.get(axis, absent)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            continue
        rest = tuple(sorted((k, str(v)) for k, v in cell.params.items() if k != axis))
        groups.setdefault((rest, cell.target, cell.timing), {})[float(value)] = cell
    return tuple(
        Curve(axis, tuple(sorted(g.items(), key=lambda p: p[0])))
        for g in groups.values()
        if len(g) > 1
    )

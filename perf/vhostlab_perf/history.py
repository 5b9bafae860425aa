# SPDX-License-Identifier: BSD-3-Clause
"""Finds where a history changed its level.

Concepts: a *series* is one cell, metric and target in one environment (``store.query``); a new
environment begins a new series, so an upgraded kernel is no alarm. A *change point* is the first
run of a new level that lasted for at least MIN_SEGMENT runs.

Method: the values of a series are replaced by the normal scores of their ranks, and the library
``ruptures`` finds the one change, and the pair of changes, that explain most of their sum of
squares. If that is more than noise explains (``thresholds.json``), the series is divided there, and
the parts are looked at in the same way. Ranks make it blind to single outliers and to the shape of
the noise: whatever that is, if the runs are exchangeable then all orders are equally likely, and
thresholds that were simulated on random orders (``calibrate.py``) hold the nominal rate of false
alarms. The pair is there for what came and went: no single change explains it. The size of a
change and its interval come from the values themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import ruptures  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, t

from vhostlab_perf.store.query import Build, Point, Series
from vhostlab_perf.thresholds import ALPHA, MIN_SEGMENT, MIN_SIZE, WINDOW, threshold

Values = NDArray[np.float64]

#: Of the interval of a change's size.
CONFIDENCE = 0.95

#: What is new: found thanks to runs of the last night only.
NIGHT = timedelta(hours=20)


@dataclass(frozen=True)
class Change:
    """The factor by which a level changed, with its interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class ChangePoint:
    """A new level of a series."""

    cell: str
    metric: str
    unit: str
    target: str
    fingerprint: str
    kind: str
    """worse | better"""
    new: bool
    """Not found without the newest runs."""
    started: str
    """When the first run of the new level began."""
    run_before: str
    run: str
    build_before: Build
    build: Build
    runs_before: int
    runs: int
    """How many runs the old and the new level have."""
    change: Change


@dataclass(frozen=True)
class Looked:
    """What a look at the histories came to."""

    points: tuple[ChangePoint, ...]
    series: int
    too_short: int
    alpha: float

    @property
    def expected_false(self) -> float:
        """How many of the points may be expected to be chance."""
        return self.series * self.alpha


def scores(values: Values) -> Values:
    """Normal scores of the ranks; equal values share theirs."""
    ranks = rankdata(values)
    made: Values = norm.ppf((ranks - 0.5) / len(values))
    return made


def gain(signal: Values, ends: Sequence[int]) -> float:
    """By how much segments, given by their ends, lower the sum of squares."""
    sums = [float(part.sum()) ** 2 / len(part) for part in np.split(signal, ends[:-1])]
    return sum(sums) - float(signal.sum()) ** 2 / len(signal)


def best(signal: Values, changes: int) -> list[int]:
    """The ends of the segments that so many changes best divide the signal into."""
    model = ruptures.KernelCPD(kernel="linear", min_size=MIN_SEGMENT)
    return [int(end) for end in model.fit_predict(signal.reshape(-1, 1), n_bkps=changes)]


def _divide(values: Values, alpha: float) -> list[int]:
    """Where a part of a series is to be divided, if at all."""
    signal = scores(values)
    for changes in (1, 2):
        if len(values) >= (changes + 1) * MIN_SEGMENT:
            ends = best(signal, changes)
            if gain(signal, ends) > threshold(len(values), changes, alpha):
                return ends[:-1]
    return []


def _spread(values: Values) -> float:
    return float(np.abs(values - np.median(values)).sum())


def _boundary(values: Values, near: int) -> int:
    """Where, near a place, two levels meet best: the smallest sum of distances to their medians."""
    first = max(MIN_SEGMENT, near - MIN_SEGMENT + 1)
    last = min(len(values) - MIN_SEGMENT, near + MIN_SEGMENT - 1)
    places = range(first, last + 1)
    return min(places, key=lambda n: _spread(values[:n]) + _spread(values[n:]), default=near)


def _placed(values: Values, starts: Sequence[int]) -> list[int]:
    """Move each start to where the values say: ranks hide how far apart two of them are."""
    placed = [0]
    for start, end in zip(starts, [*starts[1:], len(values)], strict=False):
        begin = placed[-1]
        placed.append(begin + _boundary(values[begin:end], start - begin))
    return placed[1:]


def change_points(values: Sequence[float] | Values, alpha: float = ALPHA) -> list[int]:
    """Where new levels begin, at most WINDOW values."""
    series = np.asarray(values, dtype=np.float64)
    found: list[int] = []
    parts = [(0, len(series))]
    while parts:
        begin, end = parts.pop()
        part = series[begin:end]
        starts = [begin + n for n in _placed(part, _divide(part, alpha))]
        if starts:
            found += starts
            parts += zip([begin, *starts], [*starts, end], strict=True)
    return sorted(found)


def size_of(before: Sequence[float], after: Sequence[float]) -> Change:
    """The ratio of two levels, by Welch's interval on logarithms."""
    one, two = np.log(before), np.log(after)
    ratio = math.exp(float(two.mean() - one.mean()))
    parts = np.array([part.var(ddof=1) / len(part) for part in (one, two)])
    if not parts.sum():
        return Change(ratio, ratio, ratio)
    freedom = parts.sum() ** 2 / (parts**2 / [len(one) - 1, len(two) - 1]).sum()
    reach = float(t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(parts.sum()))
    return Change(ratio, ratio * math.exp(-reach), ratio * math.exp(reach))


def _kind(direction: str, ratio: float) -> str:
    return "better" if (ratio > 1) == (direction == "higher") else "worse"


def _usable(series: Series) -> list[Point]:
    """Runs that were not steady say nothing about a level."""
    return [p for p in series.points if p.steady != "not steady"][-WINDOW:]


def _known(points: Sequence[Point], since: str, alpha: float) -> list[Point]:
    """Where new levels began, for somebody who looked before ``since``."""
    old = [p for p in points if p.started < since]
    return [old[n] for n in change_points([p.value for p in old], alpha)]


def _near(points: Sequence[Point], index: int, known: Iterable[Point]) -> bool:
    """The same change, which more runs placed a little differently."""
    around = points[max(0, index - MIN_SEGMENT + 1) : index + MIN_SEGMENT]
    return any(p in around for p in known)


def look_at(series: Series, since: str, alpha: float, min_size: float) -> list[ChangePoint]:
    """The change points of one series."""
    points = _usable(series)
    starts = change_points([p.value for p in points], alpha)
    known = _known(points, since, alpha) if starts else []
    found = []
    for begin, start, end in zip([0, *starts], starts, [*starts[1:], len(points)], strict=False):
        change = size_of(
            [p.value for p in points[begin:start]], [p.value for p in points[start:end]]
        )
        if abs(math.log(change.ratio)) < math.log1p(min_size):
            continue
        found.append(
            ChangePoint(
                cell=series.cell,
                metric=series.metric.name,
                unit=series.metric.unit,
                target=series.target,
                fingerprint=series.fingerprint,
                kind=_kind(series.metric.direction, change.ratio),
                new=not _near(points, start, known),
                started=points[start].started,
                run_before=points[start - 1].run,
                run=points[start].run,
                build_before=points[start - 1].build,
                build=points[start].build,
                runs_before=start - begin,
                runs=end - start,
                change=change,
            )
        )
    return found


def last_night(all_series: Iterable[Series]) -> str:
    """What is new by default began after that."""
    newest = max((s.points[-1].started for s in all_series), default="")
    try:
        when = datetime.strptime(newest, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) - NIGHT
    except ValueError:
        return newest
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def look(
    all_series: Sequence[Series],
    *,
    since: str = "",
    alpha: float = ALPHA,
    min_size: float = MIN_SIZE,
) -> Looked:
    """The change points of many series, the newest first.

    Only metrics that are better one way are looked at, and only positive values have ratios.
    """
    judged = [
        s
        for s in all_series
        if s.metric.direction in ("higher", "lower") and all(p.value > 0 for p in s.points)
    ]
    since = since or last_night(all_series)
    short = sum(len(_usable(s)) < 2 * MIN_SEGMENT for s in judged)
    found = [p for s in judged for p in look_at(s, since, alpha, min_size)]
    found.sort(key=lambda p: -abs(math.log(p.change.ratio)))
    found.sort(key=lambda p: p.started, reverse=True)
    return Looked(tuple(found), len(judged) - short, short, alpha)
